"""Official checkpoints of PSSNet: of its adversarial training, and of the stage before it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmjoint.utils.errors import UserError

from .common import Converter, Rule

TASKS = ('vessel', 'lesion', 'odoc')


@dataclass(frozen=True)
class TaskConverter(Converter):
    """A converter that divides grouped convolutions into those of the tasks.

    Our name of such a weight has ``{task}`` in it; the tasks stand one after another on axis 0.
    """

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename all keys of an official state dict and divide what is grouped."""
        converted = {}
        for name, value in super().convert(state).items():
            if '{task}' not in name:
                converted[name] = value
                continue
            if len(value) % len(TASKS):
                raise UserError(
                    f'checkpoint: expected {len(TASKS)} groups of outputs, found the shape '
                    f'{tuple(value.shape)} for {name.format(task="*")}; check the method name'
                )
            for task, own in zip(TASKS, value.chunk(len(TASKS)), strict=True):
                converted[name.format(task=task)] = own.clone()
        return converted


def _task(number: str) -> str:
    if int(number) >= len(TASKS):
        raise UserError(
            f'checkpoint: expected the {len(TASKS)} tasks {list(TASKS)}, found number {number}; '
            'check the method name'
        )
    return TASKS[int(number)]


def _classifier(head: str) -> Any:
    return lambda match: f'generator.{head}.decoders.{_task(match[1])}.conv_seg.{match[2]}'


def _critic(ours: str) -> Any:
    return lambda m: f'{ours}.{_task(m[1])}.convs.{int(m[2]) - 1}.{m[3]}'


def _generator_rules(prefix: str) -> tuple[Rule, ...]:
    head, attention = rf'{prefix}decode_head\.', 'generator.decode_head.attention'
    block = rf'{attention}.blocks.0'
    parts = r'psp_modules\.\d\.1|bottleneck|lateral_convs\.\d|fpn_convs\.\d|fpn_bottleneck'
    return (
        (rf'{prefix}backbone\.(.+)', r'generator.backbone.\1'),
        (
            rf'{head}((?:{parts})\.(?:conv|gn)\..+)',
            r'generator.decode_head.decoders.{task}.\1',
        ),
        (rf'{head}conv_seg\.(\d+)\.(.+)', _classifier('decode_head')),
        (rf'{head}attn\.w_msa\.0\.((?:q|kv|proj|norm1)\..+)', rf'{block}.\1'),
        (rf'{head}attn\.w_msa\.0\.(relative_position_bias_table)', rf'{block}.\1'),
        (rf'{head}attn\.norm2\.0\.(.+)', rf'{block}.norm2.\1'),
        (rf'{head}attn\.ffn\.0\.layers\.0\.0\.(.+)', rf'{block}.ffn.0.\1'),
        (rf'{head}attn\.ffn\.0\.layers\.1\.(.+)', rf'{block}.ffn.2.\1'),
        (rf'{head}attn\.proj\.((?:conv|gn)\..+)', rf'{attention}.fuse.\1'),
        (
            rf'{prefix}auxiliary_head\.(convs\.0\.(?:conv|gn)\..+)',
            r'generator.auxiliary_head.decoders.{task}.\1',
        ),
        (rf'{prefix}auxiliary_head\.conv_seg\.(\d+)\.(.+)', _classifier('auxiliary_head')),
    )


def _options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    for key, table in state.items():
        if re.search(r'\.attn\.w_msa\.0\.relative_position_bias_table$', key):
            return {
                'model.generator.decode_head.attention.window_size': (round(len(table) ** 0.5) + 1)
                // 2,
                'model.generator.decode_head.attention.num_heads': table.shape[1],
            }
    return {}


# Of the six blocks of attention the original uses the first alone, and a norm in each never.
_UNUSED = (
    r'.*\.attn\.(?:w_msa|norm2|ffn)\.[1-9]\d*\..+',
    r'.*\.attn\.w_msa\.\d+\.norm2\..+',
    r'.*\.attn\.w_msa\.\d+\.relative_position_index',
)
_CONSTANT = r'generator\.backbone\..+\.relative_position_index'
PSSNET_CONVERTER = TaskConverter(
    config='configs/_base_/models/pssnet-adversarial_swin-t.py',
    dropped='|'.join(_UNUSED),
    initial=_CONSTANT,
    options=_options,
    rules=(
        *_generator_rules(r'generator\.'),
        (r'discriminator\.(\d+)\.conv(\d+)\.conv\.(.+)', _critic('critics')),
        (r'auxiliary_discriminator\.(\d+)\.conv(\d+)\.conv\.(.+)', _critic('aux_critics')),
    ),
)
PSSNET_STAGE1_CONVERTER = TaskConverter(
    config='configs/_base_/models/pssnet_swin-t.py',
    dropped='|'.join(_UNUSED),
    initial=_CONSTANT,
    options=lambda state: {},
    rules=_generator_rules(''),
)
