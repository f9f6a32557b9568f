from collections.abc import Mapping, Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmjoint.functional.multilabel import Channels
from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType

from ..layers import Rows
from .outputs import TaskLogits


@MODELS.register_module()
class MultiTaskGenerator(BaseModule):
    """A backbone whose maps the decoders of several tasks share.

    Args:
        tasks: Channels of each task by its name.
        backbone: Any backbone that gives a tuple of maps.
        decode_head: Config of a ``TaskDecodeHead`` without ``tasks``.
        auxiliary_head: Likewise, of outputs that help in training alone, or None.
        init_cfg: Initialisation.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Channels],
        backbone: ConfigType,
        decode_head: ConfigType,
        auxiliary_head: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.tasks = tuple(tasks)
        self.backbone = MODELS.build(backbone)
        self.decode_head = MODELS.build(dict(decode_head, tasks=tasks))
        self.auxiliary_head = None
        if auxiliary_head is not None:
            self.auxiliary_head = MODELS.build(dict(auxiliary_head, tasks=tasks))

    def forward(
        self,
        inputs: Tensor,
        tasks: Sequence[str] | Mapping[str, Rows] | None = None,
        auxiliary: bool = False,
    ) -> TaskLogits:
        """Predict a batch.

        Args:
            inputs: ``(B, 3, H, W)``, preprocessed.
            tasks: Which tasks; or of which samples which tasks, as what indexes the batch by the
                name of the task. None for all. What is not asked for is not computed, but where
                tasks learn of each other.
            auxiliary: Whether the auxiliary outputs are wanted, of the same tasks and samples.

        Raises:
            ValueError: A task is unknown, or there are no auxiliary outputs.
        """
        wanted = dict(tasks) if isinstance(tasks, Mapping) else dict.fromkeys(tasks or self.tasks)
        if unknown := sorted(set(wanted) - set(self.tasks)):
            raise ValueError(f'tasks must be of {list(self.tasks)}, got {unknown[0]!r}')
        if auxiliary and self.auxiliary_head is None:
            raise ValueError('auxiliary outputs need an auxiliary_head, got None')
        feats = tuple(self.backbone(inputs))
        return TaskLogits(
            self.decode_head(feats, wanted),
            self.auxiliary_head(feats, wanted) if auxiliary else None,
        )
