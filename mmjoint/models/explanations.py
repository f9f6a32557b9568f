"""Maps that say where a model looks for an image's class, of any model that classifies."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmjoint.functional.explanation_scale import EXPLANATIONS
from mmjoint.structures import OptSampleList, SampleList
from mmjoint.utils.dropout import without_dropout
from mmjoint.utils.errors import UserError

from .joint import BaseJointModel, pixel_data, to_original_size
from .layers import in_mode
from .uncertainty import UncertaintyEstimator


def explain(
    model: BaseJointModel,
    inputs: Tensor,
    names: Sequence[str] = EXPLANATIONS,
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""Say which pixels an image's class rests on.

    With the score z of a class (its logit; of an evidential model its evidence), the input x and
    the map A that the class head reads, a double sum going over the places of that map:

    - ``saliency``: :math:`|\partial z / \partial x|`, of several channels the largest.
    - ``class_activation``: :math:`\max(0, \sum_k w_k A_k)` with
      :math:`w_k = \sum_{ij} \partial z / \partial A_{kij}`, bilinearly enlarged. Where z is a
      linear layer on the means of the map, w are that layer's weights of the class.

    One pass in evaluation mode and in single precision, without dropout, gives both. It works
    without gradients around it; modes and gradients of parameters are left alone.

    Args:
        model: A model that classifies images; see :func:`check_explainable`.
        inputs: ``(B, C, H, W)``, preprocessed. Samples must not depend on each other.
        names: Of ``saliency`` and ``class_activation``.
        labels: The classes to explain, int64 ``(B,)``; those of the largest scores by default.

    Returns:
        For each name float32 ``(B, 1, H, W)``, >= 0, not normalised.

    Raises:
        UserError: The model does not classify images by a map.

    Reference:
        Simonyan et al., "Deep inside convolutional networks", arXiv:1312.6034. Zhou et al.,
        "Learning deep features for discriminative localization", CVPR 2016. Selvaraju et al.,
        "Grad-CAM", ICCV 2017: its weights are the mean in place of the sum, a constant factor.
    """
    check_explainable(model)
    _check_images(inputs)
    seen: list[tuple] = []
    watch = model.cls_head.register_forward_pre_hook(lambda _, args: seen.append(args))
    try:
        with (
            in_mode([model], training=False),
            without_dropout(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(inputs.device.type, enabled=False),
        ):
            x = inputs.detach().clone().float().requires_grad_()
            scores = model.classify(model.arrange(x.view_as(x)))
            if labels is None:
                labels = scores.argmax(1)
            chosen = scores.gather(1, labels.to(scores.device)[:, None]).sum()
            sources = [x if name == 'saliency' else _map_of(seen[-1]) for name in names]
            gradients = torch.autograd.grad(chosen, sources)
    finally:
        watch.remove()
    maps = {}
    for name, source, gradient in zip(names, sources, gradients, strict=True):
        if name == 'saliency':
            maps[name] = gradient.abs().amax(1, keepdim=True)
        else:
            weights = gradient.sum((2, 3), keepdim=True)
            activation = (weights * source.detach()).sum(1, keepdim=True).clamp_min(0)
            maps[name] = F.interpolate(
                activation, size=inputs.shape[2:], mode='bilinear', align_corners=False
            )
    return maps


def check_explainable(model: object) -> None:
    """Refuse a model whose class cannot be explained.

    Raises:
        UserError: The model is none of ours, or it has no class head.
    """
    if not isinstance(model, BaseJointModel) or getattr(model, 'cls_head', None) is None:
        raise UserError(
            f'explain: expected a model with a class head (cls_head), found {type(model).__name__} '
            'without one, and the maps explain the class of an image; leave --explain and the '
            "config's explain out"
        )


def _check_images(inputs: Tensor) -> None:
    if inputs.dim() != 4:
        raise UserError(
            f'explain: expected images (B, C, H, W), found volumes {tuple(inputs.shape)}; leave '
            "--explain and the config's explain out"
        )


def _map_of(args: tuple) -> Tensor:
    """Give the map that a class head reads: its first argument, of several maps the last."""
    features = args[0] if isinstance(args[0], Tensor) else args[0][-1]
    if features.dim() != 4:
        raise UserError(
            'explain: expected a class head that reads a map (B, C, H, W), found '
            f"{tuple(features.shape)}; leave --explain and the config's explain out"
        )
    return features


class Explainer(BaseModel):
    """Adds maps that explain the predicted class to what a model or an estimator predicts.

    It takes their place in a test loop: same data in, same filled samples out, which have
    ``explanations`` as well, at their original size. What is explained is the class that the
    sample says (``pred_label``), by one pass of the model; of an ensemble by its first member.

    Args:
        predictor: A model that classifies images, or an estimator of uncertainty around one.
        names: Which maps; see :func:`explain`.

    Raises:
        UserError: The model does not classify.
    """

    def __init__(
        self, predictor: BaseJointModel | UncertaintyEstimator, names: Sequence[str] = EXPLANATIONS
    ) -> None:
        super().__init__(data_preprocessor=predictor.data_preprocessor)
        self.predictor = predictor
        self.names = tuple(names)
        check_explainable(self.model)

    @property
    def model(self) -> BaseJointModel:
        """The model whose class is explained."""
        predictor = self.predictor
        return predictor.model if isinstance(predictor, UncertaintyEstimator) else predictor

    def forward(self, inputs: Tensor, data_samples: OptSampleList = None, mode: str = 'predict'):
        """Predict and explain; the modes 'loss' and 'tensor' are the model's own."""
        if mode != 'predict':
            return self.model(inputs, data_samples, mode)
        samples = self.predictor(inputs, data_samples, 'predict')
        self.fill(inputs, samples)
        return samples

    def fill(self, inputs: Tensor, data_samples: SampleList) -> None:
        """Write the maps into samples that are predicted already."""
        labels = torch.cat([sample.pred_label.reshape(1) for sample in data_samples])
        maps = explain(self.model, inputs, self.names, labels)
        for i, sample in enumerate(data_samples):
            own = {name: to_original_size(each[i : i + 1], sample) for name, each in maps.items()}
            # Copies: views would keep the maps of the whole batch alive.
            sample.explanations = pixel_data(**{name: one[0].clone() for name, one in own.items()})
