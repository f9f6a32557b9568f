from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class LADataset(BaseJointDataset):
    """LA: late-enhancement MR volumes of the heart with the left atrium.

    Mask classes: 0 background, 1 left atrium. Axes of the volumes: X, Y, Z. Splits ``train`` and
    ``test``; for each labelled share R (``0.05``, ``0.1``) ``labeled_R``, ``unlabeled_R`` and
    ``eval_R``, which is the labelled part again. Made by ``prepare_dataset/la.py``. Arguments: see
    :class:`BaseJointDataset`.

    Reference:
        Xiong et al., A global benchmark of algorithms for segmenting the left atrium, Medical
        Image Analysis 67 (2021), 101832.
    """

    METAINFO = dict(
        classes=('background', 'left atrium'),
        cls_classes=(),
        palette=[[0, 0, 0], [213, 94, 0]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/la.py RAW data/la'
