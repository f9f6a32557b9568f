"""What the tests of semi-supervised training register; their configs import it."""

from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmjoint.registry import HOOKS


@HOOKS.register_module()
class RankWeightsHook(Hook):
    """Save the parameters that each process has at the end, as ``rank_<rank>.pt``."""

    def after_train(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        torch.save(weights, f'{runner.work_dir}/rank_{get_rank()}.pt')
