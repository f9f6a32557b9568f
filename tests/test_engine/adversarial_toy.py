"""What tests of adversarial training register; their configs import it."""

from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModule
from mmengine.structures import PixelData
from torch import nn
from torch.utils.data import Dataset

from mmjoint.models.adversarial import TaskLogits
from mmjoint.models.layers import select
from mmjoint.registry import DATASETS, METRICS, MODELS
from mmjoint.structures import JointDataSample
from mmjoint.utils.random import local_seed

TASKS = dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,)))
BRANCHES = dict(reta=('vessel',), refuge=('odoc',), reta_pseudo=('odoc',))


@DATASETS.register_module()
class ToyTasks(Dataset):
    """Each item is a noisy image of each branch; as a validation set, an image with all tasks."""

    metainfo = dict(tasks=TASKS)

    def __init__(self, size: int = 12, in_branches: bool = True) -> None:
        self.size = size
        self.in_branches = in_branches

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        with local_seed(index.seed):
            if not self.in_branches:
                return self._item(int(index), tuple(TASKS), 8)
            # The images of one branch are of another size.
            items = {
                branch: self._item(int(index), tasks, 12 if branch == 'refuge' else 8)
                for branch, tasks in BRANCHES.items()
            }
        return {
            key: {branch: item[key] for branch, item in items.items()}
            for key in ('inputs', 'data_samples')
        }

    def _item(self, index: int, tasks: tuple[str, ...], side: int) -> dict[str, Any]:
        maps = {
            task: torch.randint(0, 1 + max(v for c in TASKS[task].values() for v in c),
                                (1, side, side))
            for task in tasks
        }  # fmt: skip
        image = torch.randn(3, side, side) + sum(maps.values())
        sample = JointDataSample(metainfo=dict(img_path=f'toy/{index}.png'))
        sample.gt_tasks = PixelData(**maps)
        return dict(inputs=image, data_samples=sample)


@MODELS.register_module()
class ToyGenerator(BaseModule):
    """A convolution with batch norm and dropout, and a classifier per task and output."""

    def __init__(self, tasks: dict, channels: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout2d(0.2),
        )
        self.main = nn.ModuleDict({t: nn.Conv2d(channels, len(c), 1) for t, c in tasks.items()})
        self.aux = nn.ModuleDict({t: nn.Conv2d(channels, len(c), 1) for t, c in tasks.items()})

    def forward(self, inputs: torch.Tensor, tasks: Any = None, auxiliary: bool = False) -> Any:
        feats = self.stem(inputs)
        wanted = dict.fromkeys(self.main) if tasks is None else tasks
        outputs = (
            {task: convs[task](select(feats, rows)) for task, rows in wanted.items()}
            for convs in ((self.main, self.aux) if auxiliary else (self.main,))
        )
        return TaskLogits(*outputs)


@METRICS.register_module()
class ToyTaskScore(BaseMetric):
    """Mean probability of the vessel where there is one."""

    default_prefix = 'tasks'

    def process(self, data_batch: Any, data_samples: Any) -> None:
        for sample in data_samples:
            mask = sample['gt_tasks']['vessel'] == 1
            self.results.append(float(sample['pred_tasks']['vessel'][mask].mean()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(score=sum(results) / len(results))
