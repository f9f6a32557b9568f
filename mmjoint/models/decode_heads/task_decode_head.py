import math
from collections.abc import Mapping
from typing import Literal

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from mmjoint.functional.multilabel import Channels
from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType

from ..layers import CrossTaskAttention, Rows, TaskDropout, select

DROPOUTS = {'task': TaskDropout, 'channel': nn.Dropout2d}


@MODELS.register_module()
class TaskDecodeHead(BaseModule):
    """One decode head of mmseg per task, and attention between their maps.

    .. code:: text

        forward(feats, wanted) = classify(maps, wanted)
          maps      F_t = dropout(decoders[t] up to its classifier, of feats)
          classify  G = attention(F) or F, then the classifiers

    Without attention only wanted tasks are decoded, and of each only the wanted samples. No sample
    depends on another.

    Args:
        tasks: Channels of each task by its name; the order of tasks is that of the attention.
        decoder: Config of one of mmseg's heads that makes a map before it classifies:
            ``mmseg.UPerHead``, ``mmseg.FCNHead``. All tasks have the same, with weights of their
            own; number of classes, dropout and losses are set here.
        attention: Config of a ``CrossTaskAttention`` without the numbers of tasks and channels, or
            None.
        dropout_ratio: Dropout of the maps.
        dropout: ``'task'``: of whole maps, as in the original. ``'channel'``: of channels.
        init_cfg: Initialisation. By default classifiers are normal with standard deviation 0.01,
            and other convolutions Kaiming normal by the outputs of all tasks together, as if these
            were the groups of one convolution.

    Shape:
        - feats: tuple of ``(B, C_i, H_i, W_i)``.
        - Output: by task, logits ``(B, C_t, h, w)``, of the wanted samples.

    Raises:
        ValueError: There is no task, or mmseg's head makes no map.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Channels],
        decoder: ConfigType,
        attention: ConfigType | None = None,
        dropout_ratio: float = 0.1,
        dropout: Literal['task', 'channel'] = 'task',
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not tasks:
            raise ValueError('tasks is empty; name at least one, with its channels')
        if dropout not in DROPOUTS:
            raise ValueError(f'dropout must be one of {list(DROPOUTS)}, got {dropout!r}')
        self.decoders = ModuleDict(
            {
                name: MODELS.build(
                    dict(
                        decoder,
                        num_classes=len(channels),
                        out_channels=len(channels),
                        threshold=0.5,  # unused; without one mmseg warns
                        dropout_ratio=0,
                        loss_decode=[],
                    )
                )
                for name, channels in tasks.items()
            }
        )
        first = next(iter(self.decoders.values()))
        if not hasattr(first, '_forward_feature'):
            raise ValueError(
                f'decoder must make a map before it classifies, {type(first).__name__} does not; '
                "take 'mmseg.UPerHead' or 'mmseg.FCNHead'"
            )
        self.dropout = DROPOUTS[dropout](dropout_ratio)
        self.attention: CrossTaskAttention | None = None
        if attention is not None:
            self.attention = MODELS.build(
                dict(attention, num_tasks=len(tasks), channels=first.channels)
            )
        self._draw_packed()

    def init_weights(self) -> None:
        """Initialise; see the class."""
        super().init_weights()
        if not self.init_cfg:
            self._draw_packed()

    def _draw_packed(self) -> None:
        """Draw convolutions before norms with the fan-out of all decoders."""
        for decoder in self.decoders.values():
            for conv in decoder.modules():
                if isinstance(conv, nn.Conv2d) and conv is not decoder.conv_seg:
                    fan_out = len(self.decoders) * conv.out_channels * conv.weight[0, 0].numel()
                    nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))

    def forward(
        self, feats: tuple[Tensor, ...], wanted: Mapping[str, Rows] | None = None
    ) -> dict[str, Tensor]:
        """Decode a batch.

        Args:
            feats: Maps of the backbone.
            wanted: Which tasks, and of which samples each; None for all.
        """
        wanted = dict.fromkeys(self.decoders) if wanted is None else wanted
        if self.attention is not None:
            return self.classify({task: self.decode(feats, task) for task in self.decoders}, wanted)
        maps = {
            task: self.decode(feats if rows is None else [select(f, rows) for f in feats], task)
            for task, rows in wanted.items()
        }
        return self.classify(maps, dict.fromkeys(wanted))

    def decode(self, feats: tuple[Tensor, ...], task: str) -> Tensor:
        """Map of one task, ``(B, channels, h, w)``, before the attention."""
        return self.dropout(self.decoders[task]._forward_feature(feats))

    def classify(self, maps: Mapping[str, Tensor], wanted: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Logits of maps.

        Args:
            maps: Of all tasks; without attention, of the wanted ones at least.
            wanted: Which tasks, and of which samples each.
        """
        if self.attention is None:
            maps = {task: select(maps[task], rows) for task, rows in wanted.items()}
        else:
            names = list(self.decoders)
            attended = self.attention(
                [maps[task] for task in names],
                {names.index(task): rows for task, rows in wanted.items()},
            )
            maps = {names[number]: value for number, value in attended.items()}
        return {task: self.decoders[task].conv_seg(value) for task, value in maps.items()}
