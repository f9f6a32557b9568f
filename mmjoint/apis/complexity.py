"""Count a model's operations and parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.flop_counter import FlopCounterMode

from mmjoint.utils.errors import UserError

from .benchmark import build_model


def count_operations(
    cfg: Config, shape: Sequence[int], *, channels: int = 3, batch_size: int = 1
) -> dict[str, Any]:
    """Count what one forward pass of a config's model computes.

    Counted are convolutions and matrix products, as the model runs them (savings included); two
    operations per multiply-add. Everything else (norms, activations, resizing) is left out.

    Args:
        cfg: Whole config.
        shape: Space axes of the input.
        channels: Channels of the input.
        batch_size: Number of images.

    Returns:
        Plain values: ``flops``, ``macs`` (half of it), ``num_parameters``, ``num_trainable``,
        ``modules``: the same per direct submodule.

    Raises:
        UserError: If the config has no model or the model cannot take the shape.
    """
    init_default_scope(cfg.get('default_scope', 'mmjoint'))
    model = build_model(cfg, torch.device('cpu')).eval()
    inputs = torch.zeros(batch_size, channels, *shape)
    counter = FlopCounterMode(display=False, depth=2)
    try:
        with torch.no_grad(), counter:
            model(inputs, mode='tensor')
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f'{cfg.filename}: the model cannot take the shape {list(inputs.shape)}: {reason}'
        ) from error
    flops = counter.get_total_flops()
    by_module = counter.get_flop_counts()
    modules = {}
    for name, module in model.named_children():
        counts = by_module.get(f'{type(model).__name__}.{name}', {})
        modules[name] = dict(flops=int(sum(counts.values())), num_parameters=_parameters(module))
    return dict(
        config=str(cfg.filename) if cfg.filename else None,
        input_shape=list(inputs.shape),
        flops=int(flops),
        macs=int(flops) // 2,
        num_parameters=_parameters(model),
        num_trainable=_parameters(model, trainable_only=True),
        modules=modules,
    )


def _parameters(module: torch.nn.Module, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)
