from collections.abc import Mapping

import torch
from mmengine.model import ModuleDict
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType

from .branches import of_one_size

Maps = Mapping[str, Mapping[str, Tensor]]


class TaskCritics(ModuleDict):
    """One critic per task, called together: a data-parallel wrapper sees them all in one call.

    Args:
        critic: Config of a critic; it is given the ``in_channels`` of its task.
        channels: Number of channels of each task.

    Shape:
        - Input: by task, maps ``(B, C_t, H, W)`` by branch.
        - Output: likewise the critics' scores.
    """

    def __init__(self, critic: ConfigType, channels: Mapping[str, int]) -> None:
        super().__init__(
            {
                task: MODELS.build({**critic, 'in_channels': number})
                for task, number in channels.items()
            }
        )

    def forward(self, maps: Maps) -> dict[str, dict[str, Tensor]]:
        """Judge; see the class."""
        return {task: self._judge(task, own) for task, own in maps.items()}

    def _judge(self, task: str, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scores: dict[str, Tensor] = {}
        for group in of_one_size(maps):
            joint = self[task](torch.cat(list(group.values())))
            scores.update(zip(group, joint.split([len(m) for m in group.values()]), strict=True))
        return {branch: scores[branch] for branch in maps}
