from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class MMWHSDataset(BaseJointDataset):
    """MMWHS: CT and MR volumes of the heart with 4 structures.

    Mask classes: 0 background, 1 myocardium of the left ventricle, 2 left atrium, 3 left
    ventricle, 4 ascending aorta. Axes of the volumes: Z, Y, X. The ``domain`` is ``ct`` or ``mr``.
    Splits, for the task T ``ct2mr`` or ``mr2ct``: ``train_T_labeled`` (source),
    ``train_T_unlabeled`` and ``eval_T`` (target), ``test_ct`` and ``test_mr``. Made by
    ``prepare_dataset/mmwhs.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Zhuang and Shen, Multi-scale patch and multi-modality atlases for whole heart segmentation
        of MRI, Medical Image Analysis 31 (2016), 77-87.
    """

    METAINFO = dict(
        classes=('background', 'myocardium', 'left atrium', 'left ventricle', 'ascending aorta'),
        cls_classes=(),
        palette=[[0, 0, 0], [0, 158, 115], [0, 114, 178], [230, 159, 0], [213, 94, 0]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/mmwhs.py RAW data/mmwhs'
