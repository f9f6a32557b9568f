"""What the class depends on, pixel by pixel, and how a decoder of masks gets to see it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from mmjoint.registry import MODELS
from mmjoint.utils.dropout import without_dropout


@contextmanager
def in_mode(modules: Iterable[nn.Module], *, training: bool) -> Iterator[None]:
    """Put modules into a mode; afterwards each of their parts has its own mode again.

    Args:
        modules: The modules.
        training: The mode.
    """
    modules = tuple(modules)
    before = {part: part.training for module in modules for part in module.modules()}
    try:
        for module in modules:
            module.train(training)
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training


def saliency_map(
    inputs: Tensor, classify: Callable[[Tensor], Tensor], modules: Iterable[nn.Module]
) -> Tensor:
    r"""Say how much the logit of the predicted class changes with each pixel.

    :math:`S = |\partial \max_k z_k / \partial x|` of the logits z of each sample, in evaluation
    mode; of several channels the largest. Only the gradient of the input is computed: gradients of
    parameters are neither made nor changed. It works without gradients around it as well, and in
    single precision under autocast, since the values are small.

    For those who record calls of torch (see ``TorchFunctionMode``) it is one function of
    ``inputs``. Dropout stays off in it, whoever switches it on elsewhere.

    Args:
        inputs: ``(B, C, H, W)``. Samples must not depend on each other.
        classify: Gives logits ``(B, K)``.
        modules: What ``classify`` is made of. They are in evaluation mode meanwhile.

    Returns:
        ``(B, 1, H, W)``, >= 0, a constant for all later gradients.

    Reference:
        Simonyan et al., "Deep inside convolutional networks", arXiv:1312.6034.
    """
    if has_torch_function_unary(inputs):
        return handle_torch_function(saliency_map, (inputs,), inputs, classify, modules)
    device = inputs.device.type
    with (
        in_mode(modules, training=False),
        without_dropout(),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
    ):
        x = inputs.detach().clone().requires_grad_()
        # A view, since those who watch a module's inputs (FLOP counters) cannot watch a leaf.
        (gradient,) = torch.autograd.grad(classify(x.view_as(x)).max(1).values.sum(), x)
    return gradient.abs().amax(1, keepdim=True)


@MODELS.register_module()
class SaliencyBridge(nn.Module):
    """Let a decoder see the image and what the class depends on in it.

    Image and saliency, joined and resampled bilinearly with aligned corners, are appended to one
    of the encoder's maps. They have no gradient; a decode head needs ``C + 1`` more channels there.

    Args:
        level: Which of the encoder's maps gets them.

    Shape:
        - feats: maps ``(B, C_i, H_i, W_i)``.
        - inputs: ``(B, C, H, W)``; saliency: ``(B, 1, H, W)``.
        - Output: the maps, that of ``level`` with ``C_level + C + 1`` channels.

    Reference:
        Haque et al., "MultiMix: Sparingly-supervised, extreme multitask learning from medical
        images", ISBI 2021, arXiv:2010.14731.
    """

    def __init__(self, *, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(
        self, feats: tuple[Tensor, ...], inputs: Tensor, saliency: Tensor
    ) -> tuple[Tensor, ...]:
        """Append image and saliency to a map."""
        feats = list(feats)
        chosen = feats[self.level]
        small = F.interpolate(
            torch.cat([inputs, saliency], 1),
            size=chosen.shape[2:],
            mode='bilinear',
            align_corners=True,
        )
        feats[self.level] = torch.cat([chosen, small.to(chosen)], 1)
        return tuple(feats)
