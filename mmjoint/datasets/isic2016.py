from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class ISIC2016Dataset(BaseJointDataset):
    """ISIC 2016, Task 1: dermoscopic photographs with the outline of the skin lesion.

    Mask classes: 0 background, 1 lesion. There is no image-level class. Splits ``train`` and
    ``val`` are parts of the 900 published training images, ``test`` the 379 published test images;
    sizes vary, files keep theirs. Made by ``prepare_dataset/isic2016.py``. Arguments: see
    :class:`BaseJointDataset`.

    Reference:
        Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge at ISBI 2016,
        arXiv:1605.01397.
    """

    METAINFO = dict(
        classes=('background', 'lesion'),
        cls_classes=(),
        palette=[[0, 0, 0], [0, 114, 178]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/isic2016.py RAW data/isic2016'
