from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class ChestXrayPneumoniaDataset(BaseJointDataset):
    """Chest X-rays, normal or pneumonia; without masks.

    Image classes: 0 normal, 1 pneumonia. Made by ``prepare_dataset/chest_xray_pneumonia.py`` from
    the set of Kermany et al. (children), with the splits ``train``, ``val`` (drawn from the
    published training folder), ``test``, ``val_official`` (the published 16 images), and
    ``labelled_N`` / ``unlabelled_N`` (N = 100, 1000) of ``train``; or by
    ``prepare_dataset/nih_pneumonia.py`` from NIH ChestX-ray14 (adults, other devices), with the
    split ``test`` alone. The images of ``unlabelled_N`` carry labels, too: give
    ``labelled=False``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Kermany et al., Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
        Learning, Cell 172 (2018), 1122-1131.
    """

    METAINFO = dict(classes=(), cls_classes=('normal', 'pneumonia'), palette=[])
    PREPARE_COMMAND = 'python prepare_dataset/chest_xray_pneumonia.py RAW data/chest_xray_pneumonia'
