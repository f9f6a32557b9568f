from mmjoint.registry import DATASETS

from .multi_task import TaskMapsDataset


@DATASETS.register_module()
class FundusTasksDataset(TaskMapsDataset):
    """Colour fundus photographs with vessels, lesions, or optic disc and cup: seven sets.

    RETA, DRIVE, STARE and ARIA label vessels, DDR and IDRiD lesions (hard exudate, haemorrhage,
    soft exudate, microaneurysm), REFUGE the disc and the cup in it. The images are cut to the field
    of view and padded to squares. Made by the scripts ``reta``, ``ddr``, ``refuge_tasks``,
    ``idrid``, ``drive``, ``stare`` and ``aria`` of ``prepare_dataset/``. Arguments: see
    :class:`TaskMapsDataset`.

    Reference:
        Liu et al., Many birds, one stone: Medical image segmentation with multiple partially
        labeled datasets, Pattern Recognition 155 (2024), 110636.
    """

    METAINFO = dict(
        classes=(),
        cls_classes=(),
        palette=[[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]],
        tasks=dict(
            vessel=dict(vessel=(1,)),
            lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
            odoc=dict(disc=(1, 2), cup=(2,)),
        ),
    )
