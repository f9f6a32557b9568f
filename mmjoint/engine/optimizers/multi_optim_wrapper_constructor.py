"""Several optimizers, one for each part of a model."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from torch import nn

from mmjoint.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmjoint.utils.errors import UserError


class PartOptimWrappers(OptimWrapperDict):
    """Optimizer wrappers of a model's parts, under the names of the attributes.

    What mmengine's class leaves out: each wrapper is told how far training is, so that gradients
    that are accumulated go on where a resumed run stood; and states of other parts are refused.
    """

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Tell each wrapper of its part the finished and the planned iterations."""
        model = _unwrapped(model)
        for name, wrapper in self.items():
            wrapper.initialize_count_status(_unwrapped(getattr(model, name)), cur_iter, max_iters)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the states of all wrappers.

        Raises:
            UserError: They are not those of the same parts.
        """
        own, given = sorted(self.keys()), sorted(state_dict)
        if own != given:
            raise UserError(
                f'the checkpoint holds optimizers of {given}, the config has {own}; resume with '
                'the config of the checkpoint'
            )
        super().load_state_dict(state_dict)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiOptimWrapperConstructor:
    """Builds an optimizer for each part of a model.

    .. code:: python

        optim_wrapper = dict(
            constructor='MultiOptimWrapperConstructor',
            generator=dict(optimizer=dict(type='AdamW', lr=6e-5), paramwise_cfg=...),
            critics=dict(optimizer=dict(type='Adam', lr=2e-4)),
        )

    Each entry is what ``optim_wrapper`` is with a single optimizer, with its own type, accumulation
    and rules for parameters (their names begin below the part). An entry that is None is left out,
    so that a config may drop a part of its base.

    Args:
        optim_wrapper_cfg: Name of an attribute of the model -> config.
        paramwise_cfg: Must be None: it belongs into the entries.

    Raises:
        UserError: An entry has no optimizer; or, when called, the model has no such part, or a part
            with parameters has no entry.
    """

    def __init__(
        self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None
    ) -> None:
        if paramwise_cfg is not None:
            raise UserError(
                'optim_wrapper.paramwise_cfg: expected in the entry of a part, as '
                'optim_wrapper.generator.paramwise_cfg, found beside the parts'
            )
        self.configs = {
            name: cfg for name, cfg in dict(optim_wrapper_cfg).items() if cfg is not None
        }
        for name, cfg in self.configs.items():
            if not isinstance(cfg, Mapping) or 'optimizer' not in cfg:
                raise UserError(
                    f'optim_wrapper.{name}: expected a dict with an optimizer, as of a single '
                    f'optimizer, found {cfg!r}'
                )

    def __call__(self, model: nn.Module) -> PartOptimWrappers:
        """Build the wrappers.

        Args:
            model: With or without a data-parallel wrapper.
        """
        parts = {
            name: part
            for name, part in _unwrapped(model).named_children()
            if any(parameter.requires_grad for parameter in part.parameters())
        }
        if unknown := [name for name in self.configs if name not in parts]:
            raise UserError(
                f'optim_wrapper.{unknown[0]}: {type(_unwrapped(model)).__name__} has no such part '
                f'that learns; expected {sorted(parts)}'
            )
        if missing := [name for name in parts if name not in self.configs]:
            raise UserError(
                f'optim_wrapper: expected an entry for each of {sorted(parts)}, found none for '
                f'{missing[0]!r}'
            )
        return PartOptimWrappers(
            **{name: build_optim_wrapper(parts[name], cfg) for name, cfg in self.configs.items()}
        )


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
