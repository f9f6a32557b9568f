from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from mmjoint.functional.multilabel import Channels
from mmjoint.registry import MODELS
from mmjoint.structures import OptSampleList, SampleList, stack_task_maps
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

from .branches import branch_logits
from .outputs import TaskLogits
from .task_predictor import TaskPredictor, enlarge

Weights = Mapping[str, Mapping[str, float]]


@MODELS.register_module()
class MultiTaskModel(TaskPredictor):
    r"""A generator of several tasks that learns from data sets of which each labels some of them.

    .. code:: text

        forward({branch: inputs}, {branch: samples}, mode='loss')
          w = weights[branch][task]
          '<branch>.loss_<task>'      w * loss(main logits, label maps)
          '<branch>.loss_<task>_aux'  w * aux_weight * loss(auxiliary logits, label maps)

        forward(inputs, samples, mode='predict')     fills pred_tasks and seg_uncertainty

    A task of a branch without a weight is not computed: nothing else depends on it, but for the
    attention between tasks. Branches whose images have one size go through the backbone together;
    as no sample depends on another this changes nothing but rounding and which random numbers
    dropout draws.

    Predictions are brought to the input's size and from there to the original one, both bilinear,
    and then become probabilities.

    Args:
        tasks: Channels of each task by its name, as in the data sets' metainfo.
        generator: Config of a ``MultiTaskGenerator`` without ``tasks``.
        weights: Weight of each task by the branch that trains it; a task or branch that is not
            named is not trained there. None for a model that only predicts.
        loss: Config of a loss, called as ``loss(logits, labels, channels)``.
        aux_weight: Weight of the auxiliary outputs; 0 does not compute them.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.

    Raises:
        UserError: ``weights`` names an unknown task, is negative, or leaves a task untrained; or,
            in training, a branch is missing or a sample of it lacks the label map of its task.

    Reference:
        Liu et al., "Many birds, one stone", Pattern Recognition 155, 2024, its first stage.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Channels],
        generator: ConfigType,
        weights: Weights | None = None,
        loss: ConfigType | None = None,
        aux_weight: float = 0.4,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.tasks = {name: dict(channels) for name, channels in tasks.items()}
        self.weights = None if weights is None else check_weights(weights, self.tasks)
        self.aux_weight = aux_weight
        self.generator = MODELS.build(dict(generator, tasks=self.tasks))
        self.loss_task = MODELS.build(loss or dict(type='TaskDiceLoss'))

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: OptSampleList | dict[str, SampleList] = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
    ) -> dict[str, Tensor] | SampleList | TaskLogits:
        """Dispatch to ``loss``, ``predict`` or the generator.

        Args:
            inputs: ``(B, 3, H, W)``, preprocessed; for 'loss' one such tensor per branch.
            data_samples: The samples; for 'loss' one list per branch.
            mode: What to do.

        Raises:
            ValueError: ``mode`` is none of the three.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.generator(inputs)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    # Training -------------------------------------------------------------------------------

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, SampleList]
    ) -> dict[str, Tensor]:
        """Losses of all branches; see the class."""
        if self.weights is None:
            raise ValueError('training needs weights by branch and task, got None')
        found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        if missing := sorted(set(self.weights) - set(found)):
            raise UserError(
                f'train_dataloader: expected the branches {list(self.weights)} of the weights, '
                f'found {found} without {missing[0]!r}; draw batches by MultiSourceSampler and '
                'sort them by MultiBranchDataPreprocessor'
            )
        logits = branch_logits(self.generator, inputs, self.weights, auxiliary=self.aux_weight > 0)
        losses = {}
        for branch, own in logits.items():
            losses |= self._losses(branch, own, data_samples[branch])
        return losses

    def _losses(self, branch: str, logits: TaskLogits, samples: SampleList) -> dict[str, Tensor]:
        losses = {}
        for task, weight in self.weights[branch].items():
            labels = stack_task_maps(samples, task, device=logits.main[task].device)
            main = weight * task_loss(self.loss_task, logits.main[task], labels, self.tasks[task])
            losses[f'{branch}.loss_{task}'] = main
            if logits.aux is not None:
                aux = task_loss(self.loss_task, logits.aux[task], labels, self.tasks[task])
                losses[f'{branch}.loss_{task}_aux'] = weight * self.aux_weight * aux
        return losses


def check_weights(weights: Weights, tasks: Mapping[str, Channels]) -> dict[str, dict[str, float]]:
    """Check a table of weights by branch and task.

    Args:
        weights: The table.
        tasks: The tasks that there are.

    Returns:
        The table without zeros and without branches that train nothing.

    Raises:
        UserError: A task is unknown or never trained, or a weight negative.
    """
    for branch, row in weights.items():
        for task, weight in row.items():
            if task not in tasks:
                raise UserError(
                    f'model.weights.{branch}: expected tasks of {list(tasks)}, found {task!r}'
                )
            if weight < 0:
                raise UserError(
                    f'model.weights.{branch}.{task}: expected a weight >= 0, found {weight}'
                )
    kept = {
        branch: {task: weight for task, weight in row.items() if weight}
        for branch, row in weights.items()
    }
    trained = {task for row in kept.values() for task in row}
    for task in tasks:
        if task not in trained:
            raise UserError(
                f'model.weights: expected a branch that trains the task {task!r}, found none; add '
                'one or take the task out of model.tasks'
            )
    return {branch: row for branch, row in kept.items() if row}


def task_loss(loss: nn.Module, logits: Tensor, labels: Tensor, channels: Channels) -> Tensor:
    """Loss of one task at the label maps' size.

    Args:
        loss: Called as ``loss(logits, labels, channels)``.
        logits: ``(B, C, h, w)``, enlarged to the label maps, bilinear.
        labels: int64 ``(B, H, W)``.
        channels: Values of the label maps by channel.
    """
    return loss(enlarge(logits, labels.shape[1:]), labels, channels)
