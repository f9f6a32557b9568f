from . import (
    backbones,
    cls_heads,
    data_preprocessors,
    decode_heads,
    joint,
    layers,
    losses,
    necks,
)

__all__ = [
    'backbones',
    'cls_heads',
    'data_preprocessors',
    'decode_heads',
    'joint',
    'layers',
    'losses',
    'necks',
]
