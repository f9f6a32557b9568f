from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class JSRTDataset(BaseJointDataset):
    """JSRT: chest X-rays with the lung masks of SCR.

    Mask classes: 0 background, 1 lung. There is no image-level class. Splits ``train`` (111),
    ``val`` (13), ``test`` (123), and ``labelled_N`` / ``unlabelled_N`` (N = 10, 50) of ``train``.
    The images of ``unlabelled_N`` carry masks, too: give ``labelled=False``. Made by
    ``prepare_dataset/jsrt.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Shiraishi et al., Development of a Digital Image Database for Chest Radiographs With and
        Without a Lung Nodule, American Journal of Roentgenology 174 (2000), 71-74;
        van Ginneken et al., Segmentation of Anatomical Structures in Chest Radiographs Using
        Supervised Methods, Medical Image Analysis 10 (2006), 19-40.
    """

    METAINFO = dict(
        classes=('background', 'lung'), cls_classes=(), palette=[[0, 0, 0], [86, 180, 233]]
    )
    PREPARE_COMMAND = 'python prepare_dataset/jsrt.py RAW data/jsrt'
