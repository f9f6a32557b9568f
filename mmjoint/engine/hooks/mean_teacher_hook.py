from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmjoint.registry import HOOKS
from mmjoint.utils.errors import UserError


def _model_with(runner: Any, method: str, hook: Hook) -> Any:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, method):
        raise UserError(
            f'custom_hooks: {type(hook).__name__} needs a model with {method}(), found '
            f'{type(model).__name__}; remove the hook or change model.type'
        )
    return model


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Let the teacher of a ``MeanTeacher`` follow its student.

    Before the first iteration the student's weights are copied, which may have been loaded; after
    every iteration the teacher moves towards them.
    """

    priority = 'NORMAL'

    def before_train(self, runner: Any) -> None:
        """Copy the weights at the start of a training that is not resumed."""
        model = _model_with(runner, 'update_teacher', self)
        if runner.iter == 0:
            model.update_teacher(copy=True)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update the teacher."""
        _model_with(runner, 'update_teacher', self).update_teacher()


@HOOKS.register_module()
class DecoderAveragingHook(Hook):
    """Before every iteration, pull one decoder of ``AggregateDecouple`` to the mean of the others.

    Args:
        keep: Weight of the decoder's own weights, in [0, 1].
    """

    priority = 'NORMAL'

    def __init__(self, keep: float = 0.99) -> None:
        if not 0 <= keep <= 1:
            raise ValueError(f'keep must be in [0, 1], got {keep}')
        self.keep = keep

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Average the weights."""
        _model_with(runner, 'average_decoders', self).average_decoders(self.keep)
