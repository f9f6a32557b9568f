"""A tiny task for tests of the engine: random augmentation, dropout, batch statistics."""

import os
import signal
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from mmjoint.registry import DATASETS, HOOKS, METRICS, MODELS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import local_seed


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Fixed images whose label is the sign of their mean; noise is added at each visit."""

    metainfo = dict(classes=('background', 'spot'), cls_classes=('dark', 'bright'))

    def __init__(self, size: int = 13, noise: float = 0.5, broken: int | None = None) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randn(size, 2, 4, 4, generator=generator)
        self.labels = (self.images.mean((1, 2, 3)) > 0).long()
        self.noise = noise
        self.broken = broken

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if int(index) == self.broken:
            raise UserError('toy/4.png: truncated image; make it anew')
        with local_seed(index.seed):
            image = self.images[int(index)] + self.noise * torch.randn(2, 4, 4)
        sample = JointDataSample(metainfo=dict(img_path=f'toy/{int(index)}.png'))
        sample.set_gt_label(self.labels[int(index)])
        return dict(inputs=image, data_samples=sample)


@MODELS.register_module()
class ToyModel(BaseModel):
    """Convolution, batch norm, dropout and a linear classifier; knows how far training is."""

    def __init__(self, channels: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, 2)
        self.progress = -1.0

    def set_train_progress(self, progress: float) -> None:
        self.progress = progress

    def forward(
        self, inputs: Sequence[torch.Tensor], data_samples: Any = None, mode: str = 'tensor'
    ) -> Any:
        if isinstance(inputs, list):
            inputs = torch.stack(inputs)
        features = self.dropout(self.norm(self.conv(inputs)).relu()).mean((2, 3))
        logits = self.linear(features)
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            labels = torch.cat([sample.gt_label for sample in data_samples])
            return dict(loss_cls=nn.functional.cross_entropy(logits, labels))
        for sample, row in zip(data_samples, logits, strict=True):
            sample.set_pred_score(row.softmax(0)).set_pred_label(row.argmax())
        return data_samples


@METRICS.register_module()
class ToyAccuracy(BaseMetric):
    """Share of right labels, and the mean probability of the right one."""

    default_prefix = 'cls'
    eval_names = ('ACC', 'confidence')

    @staticmethod
    def matches(key: str, name: str) -> bool:
        return key == name

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            label = int(sample['gt_label'])
            right = int(sample['pred_label']) == label
            self.results.append((right, float(sample['pred_score'][label])))

    def compute_metrics(self, results: list) -> dict[str, float]:
        count = len(results)
        return dict(
            ACC=sum(right for right, _ in results) / count,
            confidence=sum(p for _, p in results) / count,
        )


@HOOKS.register_module()
class DieHook(Hook):
    """Kill this very process without any warning: at an iteration, or during a validation."""

    # Later than the checkpoint hook.
    priority = 'LOWEST'

    def __init__(self, at_iter: int | None = None, at_validation: int | None = None) -> None:
        self.at_iter = at_iter
        self.at_validation = at_validation
        self._validations = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.at_iter == runner.iter + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_val_epoch(self, runner: Any) -> None:
        self._validations += 1
        if self.at_validation == self._validations:
            os.kill(os.getpid(), signal.SIGKILL)
