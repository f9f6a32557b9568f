from mmjoint.registry import DATASETS

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class SynapseVolumeDataset(BaseJointDataset):
    """Synapse (BTCV): volumes of abdominal CT with 13 organs.

    (mmsegmentation's ``SynapseDataset`` reads slices of it.) Axes of the volumes: Z, Y, X. Splits
    ``train``, ``eval`` and ``test``; for each labelled share R (``0.2``, ``0.4``) ``labeled_R``
    and ``unlabeled_R``. Values are HU: clip them when loading, ``clip=(-75, 275)``. Made by
    ``prepare_dataset/synapse.py``. Arguments: see :class:`BaseJointDataset`.

    Reference:
        Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015,
        https://www.synapse.org/Synapse:syn3193805.
    """

    METAINFO = dict(
        classes=(
            'background',
            'spleen',
            'right kidney',
            'left kidney',
            'gallbladder',
            'esophagus',
            'liver',
            'stomach',
            'aorta',
            'inferior vena cava',
            'portal and splenic veins',
            'pancreas',
            'right adrenal gland',
            'left adrenal gland',
        ),
        cls_classes=(),
        palette=[
            [0, 0, 0],
            [230, 159, 0],
            [86, 180, 233],
            [0, 158, 115],
            [240, 228, 66],
            [0, 114, 178],
            [213, 94, 0],
            [204, 121, 167],
            [170, 51, 119],
            [51, 34, 136],
            [153, 153, 51],
            [136, 204, 238],
            [102, 17, 0],
            [187, 187, 187],
        ],
    )
    PREPARE_COMMAND = 'python prepare_dataset/synapse.py RAW data/synapse'
