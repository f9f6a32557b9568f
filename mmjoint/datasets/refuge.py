from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class REFUGEJointDataset(BaseJointDataset):
    """REFUGE: colour fundus photographs with optic disc, optic cup and glaucoma.

    Mask classes: 0 background, 1 rim (disc without cup), 2 cup; the disc is rim and cup together.
    Image classes: 0 non-glaucoma, 1 glaucoma. Splits ``train``, ``val``, ``test`` of 400 images
    each, as published; the training images come from another camera than the others.
    Made by ``prepare_dataset/refuge.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Orlando et al., REFUGE Challenge, Medical Image Analysis 59 (2020), 101570.
    """

    METAINFO = dict(
        classes=('background', 'rim', 'cup'),
        cls_classes=('non-glaucoma', 'glaucoma'),
        palette=[[0, 0, 0], [0, 158, 115], [230, 159, 0]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/refuge.py RAW data/refuge'
