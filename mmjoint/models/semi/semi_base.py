from abc import abstractmethod
from typing import Literal

from torch import Tensor

from mmjoint.functional.ramps import sigmoid_ramp_up
from mmjoint.functional.schedules import epoch_at, lagging_epoch
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

from ..joint import BaseJointModel

LABELLED, UNLABELLED = 'labelled', 'unlabelled'


class SemiBaseModel(BaseJointModel):
    r"""A segmentation model that learns from labelled and unlabelled images at once.

    .. code:: text

        forward({branch: inputs}, {branch: samples}, mode='loss')
          -> loss_by_gt(inputs['labelled'], samples['labelled'])       'labelled.<name>'
           + loss_by_pseudo(inputs['unlabelled'])                      'unlabelled.<name>'
        forward(inputs, samples, mode='predict')                       as any joint model

    In training the data preprocessor gives one batch per branch; other branches are refused.
    Labels of the unlabelled branch are never looked at. What the unlabelled branch counts grows in
    epochs, one epoch late: in epoch e it is :math:`w \exp(-5 (1 - \min(e - 1, R) / R)^2)`, in epoch
    0 as in epoch 1. The epoch is taken from the share of the training that is done, so a shorter
    training runs through the same ramp.

    Args:
        unlabelled_weight: w, the final weight of the unlabelled branch.
        num_epochs: Epochs of the whole training, in whose terms the ramp is told.
        ramp_up_epochs: R; 0 gives the final weight from the start.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: See ``BaseJointModel``.
        memory_format: See ``BaseJointModel``.

    Raises:
        ValueError: A number is negative.
        UserError: In training, a branch is missing or unknown.
    """

    def __init__(
        self,
        *,
        unlabelled_weight: float,
        num_epochs: int,
        ramp_up_epochs: int,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        test_cfg: ConfigType | None = None,
        memory_format: Literal['channels_first', 'channels_last'] = 'channels_first',
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            test_cfg=test_cfg,
            memory_format=memory_format,
        )
        if unlabelled_weight < 0 or num_epochs < 1 or ramp_up_epochs < 0:
            raise ValueError(
                'expected unlabelled_weight >= 0, num_epochs >= 1 and ramp_up_epochs >= 0, got '
                f'{unlabelled_weight}, {num_epochs}, {ramp_up_epochs}'
            )
        self.unlabelled_weight = unlabelled_weight
        self.num_epochs = num_epochs
        self.ramp_up_epochs = ramp_up_epochs
        self.consistency_weight = 0.0
        """Present weight of the unlabelled branch."""
        self.set_train_progress(0.0)

    def set_train_progress(self, progress: float) -> None:
        """Set the weight of the unlabelled branch from the share of training that is done."""
        epoch = lagging_epoch(epoch_at(progress, self.num_epochs))
        self.consistency_weight = self.unlabelled_weight * sigmoid_ramp_up(
            epoch, self.ramp_up_epochs
        )

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: SampleList | dict[str, SampleList] | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
    ) -> dict[str, Tensor] | SampleList | object:
        """Dispatch to ``loss``, ``predict`` or ``_forward``.

        Args:
            inputs: ``(B, C, *space)``; for 'loss' one such tensor per branch.
            data_samples: The samples; for 'loss' one list per branch.
            mode: What to do.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        found = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        if found != sorted((LABELLED, UNLABELLED)):
            raise UserError(
                f'train_dataloader: expected samples of the branches {LABELLED!r} and '
                f'{UNLABELLED!r} in every batch, found {found}; draw batches by MultiSourceSampler '
                'and sort them by MultiBranchDataPreprocessor'
            )
        inputs = {branch: self.arrange(batch) for branch, batch in inputs.items()}
        return self.loss(inputs, data_samples)

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, SampleList]
    ) -> dict[str, Tensor]:
        """Losses of both branches; keys with "loss" are trained, others only logged."""
        labelled = self.loss_by_gt(inputs[LABELLED], data_samples[LABELLED])
        unlabelled = self.loss_by_pseudo(inputs[UNLABELLED])
        return {
            **{f'{LABELLED}.{name}': value for name, value in labelled.items()},
            **{f'{UNLABELLED}.{name}': value for name, value in unlabelled.items()},
        }

    @abstractmethod
    def loss_by_gt(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of the labelled branch."""

    @abstractmethod
    def loss_by_pseudo(self, inputs: Tensor) -> dict[str, Tensor]:
        """Losses of the unlabelled branch, times ``consistency_weight``."""
