from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from mmjoint.registry import MODELS

Rows = Sequence[int] | slice | None
"""Which samples of a batch: what indexes its first axis, None for all."""

EXPANSION = 4


class WindowCrossAttention(nn.Module):
    """Attention within windows from one map to another, and a multi-layer perceptron behind it.

    Args:
        channels: Channels C of the maps.
        num_heads: Heads, a divisor of C.
        window_size: Side w of a window, in pixels of the maps.
        fused: Let PyTorch choose how to attend, which keeps no weights of pairs of pixels where it
            can. False computes the definition.

    Shape:
        Windows are ``(B, windows, w * w, C)``, row by row in a window.
    """

    def __init__(
        self, channels: int, *, num_heads: int, window_size: int, fused: bool = True
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(
                f'num_heads must divide the channels, got {num_heads} heads of {channels} channels'
            )
        self.num_heads = num_heads
        self.fused = fused
        # Names with "norm" and of the table tell the optimizer what not to decay.
        self.norm1 = nn.LayerNorm(channels)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(
            nn.Linear(channels, EXPANSION * channels),
            nn.GELU(),
            nn.Linear(EXPANSION * channels, channels),
        )
        self.register_buffer('index', _relative_index(window_size), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Draw the initial values of the attention; the perceptron keeps PyTorch's own."""
        for linear in (self.q, self.kv, self.proj):
            trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        trunc_normal_(self.relative_position_bias_table, std=0.02)

    def query(self, windows: Tensor) -> Tensor:
        """Queries ``(B, windows, heads, w * w, d)`` of normalised windows."""
        return self._heads(self.q(windows))

    def key_value(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each as :meth:`query`, of normalised windows."""
        key, value = self.kv(windows).chunk(2, -1)
        return self._heads(key), self._heads(value)

    def bias(self) -> Tensor:
        """What is added before the softmax: ``(1, heads, query, key)``."""
        # With four axes, as PyTorch's fast kernels on a CPU want it.
        return self.relative_position_bias_table[self.index].permute(2, 0, 1).unsqueeze(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Attend within the windows.

        Args:
            query: As :meth:`query` gives it.
            key: As :meth:`key_value` gives it.
            value: Likewise.
            bias: As :meth:`bias` gives it.

        Returns:
            Windows, projected.
        """
        attend = F.scaled_dot_product_attention if self.fused else _attend
        shape = query.shape
        out = attend(*(x.flatten(0, 1) for x in (query, key, value)), bias)
        return self.proj(out.view(shape).transpose(2, 3).flatten(3))

    def transform(self, maps: Tensor) -> Tensor:
        """The perceptron with its norm and the way around it, of maps ``(..., C)``."""
        return maps + self.ffn(self.norm2(maps))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3)


@MODELS.register_module()
class CrossTaskAttention(BaseModule):
    r"""Maps of several tasks learn of each other by attention within windows.

    .. code:: text

        A_ij = attention of task i to task j                          i != j
        y_ij = z + MLP(LN(z)),  z = F_i + A_ij
        G_i  = F_i + ReLU(GN(conv1x1(y_ij of all j, joined)))

    Queries are of LN(F_i), keys and values of LN(F_j), with the same norm. Maps are filled up with
    zeros at the right and the bottom to whole windows; what is filled up takes part. The norms
    make it a constant, not zero.

    Norms, queries, keys and values of a task are computed once, not once for each pair, and so is
    the bias of a block.

    Args:
        num_tasks: Number T of tasks, at least 2.
        channels: Channels C of each map.
        num_heads: Heads of the attention.
        window_size: Side of a window, in pixels of the maps.
        blocks: ``'shared'``: one block of attention and perceptron for all pairs of tasks, as the
            original has in effect. ``'per_pair'``: one for each ordered pair, as it intends.
        norm_cfg: Config of the norm behind the 1x1 convolution.
        fused: False computes attention by its definition, with its weights in memory.
        init_cfg: Initialisation; by default that of the original.

    Shape:
        - Input: T maps ``(B, C, H, W)``.
        - Output: maps of the wanted tasks, of the wanted samples.

    Raises:
        ValueError: A number or ``blocks`` is impossible.

    Reference:
        Liu et al., "Many birds, one stone", Pattern Recognition 155, 2024 (xTA), and its code.
    """

    def __init__(
        self,
        *,
        num_tasks: int,
        channels: int,
        num_heads: int = 4,
        window_size: int = 8,
        blocks: Literal['shared', 'per_pair'] = 'shared',
        norm_cfg: Mapping[str, object] | None = None,
        fused: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_tasks < 2:
            raise ValueError(f'num_tasks must be at least 2, got {num_tasks}')
        if blocks not in ('shared', 'per_pair'):
            raise ValueError(f"blocks must be 'shared' or 'per_pair', got {blocks!r}")
        self.num_tasks = num_tasks
        self.window_size = window_size
        number = 1 if blocks == 'shared' else num_tasks * (num_tasks - 1)
        self.blocks = nn.ModuleList(
            WindowCrossAttention(
                channels, num_heads=num_heads, window_size=window_size, fused=fused
            )
            for _ in range(number)
        )
        self.fuse = ConvModule(
            (num_tasks - 1) * channels,
            channels,
            1,
            norm_cfg=dict(norm_cfg or dict(type='GN', num_groups=1)),
        )

    def forward(
        self, maps: Sequence[Tensor], wanted: Mapping[int, Rows] | None = None
    ) -> dict[int, Tensor]:
        """Attend.

        Args:
            maps: One map per task, in the order of the tasks.
            wanted: Numbers of the tasks whose maps are wanted, and of which samples; None for all.

        Returns:
            G by the number of the task.
        """
        if len(maps) != self.num_tasks:
            raise ValueError(f'expected maps of {self.num_tasks} tasks, got {len(maps)}')
        wanted = dict.fromkeys(range(self.num_tasks)) if wanted is None else wanted
        windows = [self._partition(m) for m in maps]

        @cache
        def normed(block: WindowCrossAttention, task: int) -> Tensor:
            return block.norm1(windows[task])

        @cache
        def query(block: WindowCrossAttention, task: int) -> Tensor:
            return block.query(normed(block, task))

        @cache
        def key_value(block: WindowCrossAttention, task: int) -> tuple[Tensor, Tensor]:
            return block.key_value(normed(block, task))

        @cache
        def bias(block: WindowCrossAttention) -> Tensor:
            return block.bias()

        result = {}
        for i, rows in wanted.items():
            own = select(maps[i], rows)
            last = own.permute(0, 2, 3, 1)
            pairs = []
            for number, j in enumerate(j for j in range(self.num_tasks) if j != i):
                block = self.blocks[(i * (self.num_tasks - 1) + number) % len(self.blocks)]
                parts = (query(block, i), *key_value(block, j))
                attended = block.attend(*(select(part, rows) for part in parts), bias(block))
                pairs.append(block.transform(last + self._merge(attended, last.shape)))
            result[i] = own + self.fuse(torch.cat(pairs, -1).permute(0, 3, 1, 2))
        return result

    def _partition(self, maps: Tensor) -> Tensor:
        """Windows ``(B, windows, w * w, C)`` of maps ``(B, C, H, W)``."""
        w = self.window_size
        height, width = maps.shape[2:]
        maps = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 0, -width % w, 0, -height % w))
        b, height, width, c = maps.shape
        maps = maps.view(b, height // w, w, width // w, w, c).transpose(2, 3)
        return maps.reshape(b, -1, w * w, c)

    def _merge(self, windows: Tensor, shape: Sequence[int]) -> Tensor:
        """Undo :meth:`_partition`, but for the order of the axes.

        Args:
            windows: ``(B, windows, w * w, C)``.
            shape: Of a map ``(*, H, W, C)``.

        Returns:
            ``(B, H, W, C)``.
        """
        w = self.window_size
        _, height, width, c = shape
        down, across = -(-height // w), -(-width // w)
        maps = windows.view(-1, down, across, w, w, c).transpose(2, 3)
        return maps.reshape(-1, down * w, across * w, c)[:, :height, :width]


def select(maps: Tensor, rows: Rows) -> Tensor:
    """Some samples of a batch."""
    return maps if rows is None else maps[rows if isinstance(rows, slice) else list(rows)]


def _relative_index(window_size: int) -> Tensor:
    """Row of the bias table by query and key, each counted row by row in the window."""
    steps = torch.arange(window_size)
    y, x = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing='ij'))
    dy, dx = (axis[:, None] - axis[None, :] + window_size - 1 for axis in (y, x))
    return dy * (2 * window_size - 1) + dx


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The definition of ``scaled_dot_product_attention``."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias
    return logits.softmax(-1) @ value
