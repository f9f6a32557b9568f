from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class MnMsDataset(BaseJointDataset):
    """M&Ms: short-axis cine MR of the heart from scanners of four vendors.

    Mask classes: 0 background, 1 left ventricle, 2 myocardium, 3 right ventricle. Volumes (axes Z,
    Y, X), or their slices where they were prepared with ``--2d``; one per labelled frame. The
    ``domain`` is the vendor, ``A`` to ``D``. Splits, for the unseen vendor V and the labelled
    share R (``0.02``, ``0.05``): ``train_toV_labeled_R``, ``train_toV_unlabeled_R``,
    ``eval_toV_R`` (the labelled part again) and ``test_toV_R``. Clip when loading,
    ``percentiles=(0.5, 99.5)``. Made by ``prepare_dataset/mnms.py``. Arguments: see
    :class:`BaseJointDataset`.

    Reference:
        Campello et al., Multi-centre, multi-vendor and multi-disease cardiac segmentation: the
        M&Ms challenge, IEEE Transactions on Medical Imaging 40 (2021), 3543-3554.
    """

    METAINFO = dict(
        classes=('background', 'left ventricle', 'myocardium', 'right ventricle'),
        cls_classes=(),
        palette=[[0, 0, 0], [230, 159, 0], [0, 158, 115], [0, 114, 178]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/mnms.py RAW data/mnms'
