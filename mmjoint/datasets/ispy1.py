from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class ISPY1Dataset(BaseJointDataset):
    """I-SPY1: slices of breast DCE-MR series with the tumour and the response to chemotherapy.

    Mask classes: 0 background, 1 tumour. Image classes: 0 non-pCR, 1 pCR (pathological complete
    response); all slices of a patient share the label. Splits ``train``, ``val``, ``test`` by
    patient. Made by ``prepare_dataset/ispy1.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Hylton et al., I-SPY 1 TRIAL, Radiology 263 (2012), 663-672.
    """

    METAINFO = dict(
        classes=('background', 'tumour'),
        cls_classes=('non-pCR', 'pCR'),
        palette=[[0, 0, 0], [213, 94, 0]],
    )
    PREPARE_COMMAND = 'python prepare_dataset/ispy1.py RAW data/ispy1'
