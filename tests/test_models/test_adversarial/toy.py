"""A generator of the multi-task kind without anything that is not needed."""

from collections.abc import Mapping

from torch import nn

from mmjoint.models.adversarial import TaskLogits
from mmjoint.models.layers import select

TASKS = dict(
    vessel=dict(vessel=(1,)),
    lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    odoc=dict(disc=(1, 2), cup=(2,)),
)


class PointwiseGenerator(nn.Module):
    """For each task a 1x1 convolution for the main output and one for the auxiliary output."""

    def __init__(self, tasks=TASKS, in_channels=3, with_aux=True):
        super().__init__()
        self.main = nn.ModuleDict({t: nn.Conv2d(in_channels, len(c), 1) for t, c in tasks.items()})
        self.aux = nn.ModuleDict(
            {t: nn.Conv2d(in_channels, len(c), 1) for t, c in tasks.items() if with_aux}
        )
        self.calls = []

    def forward(self, inputs, tasks=None, auxiliary=False):
        wanted = dict(tasks) if isinstance(tasks, Mapping) else dict.fromkeys(tasks or self.main)
        self.calls.append((len(inputs), wanted, auxiliary))
        outputs = (
            {task: convs[task](select(inputs, rows)) for task, rows in wanted.items()}
            for convs in ((self.main, self.aux) if auxiliary else (self.main,))
        )
        return TaskLogits(*outputs)
