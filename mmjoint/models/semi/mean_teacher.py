from typing import Literal

import torch
from mmengine.model import ExponentialMovingAverage
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType

from ..joint import BatchPrediction
from .semi_base import SemiBaseModel


@MODELS.register_module()
class MeanTeacher(SemiBaseModel):
    """Mean teacher: a student learns to agree with the running mean of its own weights.

    The student learns from labels by its own losses. On unlabelled images it is drawn to the
    teacher's prediction of the image with noise. The teacher is always in evaluation mode;
    ``MeanTeacherHook`` lets it follow the student after every iteration.

    Args:
        segmentor: Config of the student: a model with logits of the mask and losses of its own,
            without a data preprocessor.
        loss_consistency: Config of the loss between the logits of student and teacher.
        momentum: Weight of the student's NEW weights in the mean: 1 - the decay of the papers.
        noise_std: Standard deviation of the Gaussian noise, cut at twice its value, on the
            teacher's image, in units of the preprocessed image; 0 for none.
        predict_on: Who predicts.
        unlabelled_weight: Final weight of the consistency.
        num_epochs: Epochs of the whole training, in whose terms the ramp is told.
        ramp_up_epochs: Epochs until the weight is final.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: See ``BaseJointModel``. It stands here, not in ``segmentor``.
        memory_format: See ``BaseJointModel``.

    Raises:
        ValueError: An option is out of range or unknown.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017. Noise as in Yu
        et al., "Uncertainty-aware self-ensembling model", MICCAI 2019, without its uncertainty.
    """

    def __init__(
        self,
        *,
        segmentor: ConfigType,
        loss_consistency: ConfigType,
        momentum: float = 0.01,
        noise_std: float = 0.1,
        predict_on: Literal['teacher', 'student'] = 'teacher',
        unlabelled_weight: float = 0.1,
        num_epochs: int = 301,
        ramp_up_epochs: int = 300,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        test_cfg: ConfigType | None = None,
        memory_format: Literal['channels_first', 'channels_last'] = 'channels_first',
    ) -> None:
        super().__init__(
            unlabelled_weight=unlabelled_weight,
            num_epochs=num_epochs,
            ramp_up_epochs=ramp_up_epochs,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            test_cfg=test_cfg,
            memory_format=memory_format,
        )
        if predict_on not in ('teacher', 'student'):
            raise ValueError(f"predict_on must be 'teacher' or 'student', got {predict_on!r}")
        if not 0 < momentum < 1 or noise_std < 0:
            raise ValueError(
                f'expected momentum in (0, 1) and noise_std >= 0, got {momentum}, {noise_std}'
            )
        self.noise_std = noise_std
        self.predict_on = predict_on
        self.student = MODELS.build(segmentor)
        if self.student.windows is not None:
            raise ValueError(
                'segmentor.test_cfg has no effect; give test_cfg to the mean teacher itself'
            )
        self.teacher = ExponentialMovingAverage(self.student, momentum=momentum)
        self.loss_consistency = MODELS.build(loss_consistency)
        self.lay_out()

    def train(self, mode: bool = True) -> 'MeanTeacher':
        """Set the mode of all but the teacher."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss_by_gt(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """The student's own losses."""
        return self.student.loss(inputs, data_samples)

    def loss_by_pseudo(self, inputs: Tensor) -> dict[str, Tensor]:
        """Disagreement of student and teacher."""
        with torch.no_grad():
            noise = (self.noise_std * torch.randn_like(inputs)).clamp_(
                -2 * self.noise_std, 2 * self.noise_std
            )
            target = self.teacher.module.infer_window(inputs + noise).seg_logits
        loss = self.loss_consistency(self.student.infer_window(inputs).seg_logits, target)
        return {
            self.loss_consistency.loss_name: self.consistency_weight * loss,
            'unweighted_consistency': loss.detach(),
            'consistency_weight': loss.new_tensor(self.consistency_weight),
        }

    def update_teacher(self, *, copy: bool = False) -> None:
        """Let the teacher follow the student.

        Args:
            copy: Take the student's weights as they are.
        """
        if copy:
            self.teacher.steps.zero_()
        self.teacher.update_parameters(self.student)

    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch."""
        return self._chosen().infer_window(inputs)

    def _forward(self, inputs: Tensor) -> object:
        return self._chosen()._forward(inputs)

    def _chosen(self) -> torch.nn.Module:
        return self.teacher.module if self.predict_on == 'teacher' else self.student
