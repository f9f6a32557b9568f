from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class MontgomeryDataset(BaseJointDataset):
    """Montgomery County chest X-rays with lung masks: another device than that of JSRT.

    Mask classes: 0 background, 1 lung. There is no image-level class; ``finding`` of a record is
    the clinical reading. Splits ``train`` (93), ``val`` (10), ``test`` (35). Made by
    ``prepare_dataset/montgomery.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Jaeger et al., Two Public Chest X-Ray Datasets for Computer-Aided Screening of Pulmonary
        Diseases, Quantitative Imaging in Medicine and Surgery 4 (2014), 475-477.
    """

    METAINFO = dict(
        classes=('background', 'lung'), cls_classes=(), palette=[[0, 0, 0], [86, 180, 233]]
    )
    PREPARE_COMMAND = 'python prepare_dataset/montgomery.py RAW data/montgomery'
