from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmjoint.functional.averaging import pull_towards_mean
from mmjoint.functional.pseudo_label import FusedLabels, fuse_pseudo_labels, label_health
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_seg_maps
from mmjoint.structures.typing import ConfigType

from ..diffusion import RandomSource
from ..diffusion.gaussian_diffusion import signed_one_hot
from ..joint import BatchPrediction, JointOutput
from ..losses import full_precision
from .semi_base import SemiBaseModel


@MODELS.register_module()
class AggregateDecouple(SemiBaseModel):
    r"""A&D: three decoders on one encoder, that make, weigh and learn from pseudo-labels.

    .. code:: text

        theta  decode_head      predicts; learns from pseudo-labels, and is pulled towards the mean
                                of the other two before each iteration (DecoderAveragingHook)
        psi    supervised_head  learns from labels, classes weighted by their difficulty
        xi     denoising_head   learns to make the mask of image, noisy mask and noise level

        labelled:    L_deno = loss(xi(x_t, t, image), y)
                     w      = difficulty(argmax xi(x_t, t, image), y)
                     L_diff = loss_w(psi(image), y)
        unlabelled:  d      = DDIM(xi, image), q = softmax(psi(image))       without gradient
                     y_hat  = argmax(smooth(softmax(d + Gumbel noise)) + q)
                     L_u    = loss(theta(image), y_hat)
        L = L_deno + L_diff + mu L_u

    By default pseudo-labels are made in training mode, as in the original: dropout is on, and batch
    norms use and follow the statistics of these passes (in the end two thirds of the encoder's
    running statistics come from sampling).

    The denoiser is trained as a classifier, with unbounded logits, but by default it is sampled as
    if it gave x_0 in [-1, 1]: classes above 1 tie, of which noise then chooses one.
    ``sampled_x0='softmax'`` takes from its probabilities what the signed mask is on average.

    What is drawn comes from ``random_source``, in this order: times, forward noise; start, Gumbel
    noise. Replace it to inject other numbers.

    Args:
        backbone: Config of an encoder with ``encode``, as ``VNetEncoder``; with ``time_channels``
            if there is a diffusion.
        decode_head: Config of the decoders, as ``VNetHead``. Xi gets ``time_channels`` as well.
        loss_decode: Config of the loss of all three, called as
            ``loss(logits, target, class_weight, ignore_index=...)``.
        diffusion: Config of the noise levels and the sampling; None: xi is a plain decoder of the
            image, whose logits take the place of the sampled x_0.
        denoising_stem: Config of what joins image, noisy mask and time; given with ``diffusion``.
        difficulty: Config of the tracker of difficulties; None: all classes count the same.
        pseudo_mode: Make pseudo-labels in ``'train'`` or ``'eval'`` mode.
        update_bn_in_sampling: Whether in ``'train'`` mode batch norms follow the statistics of
            the passes that make pseudo-labels.
        gumbel: Whether Gumbel noise takes part in the denoiser's vote.
        temperature: Of the softmax of the denoiser's vote.
        sampled_x0: What sampling takes for x_0: the denoiser's ``'logits'``, clipped, or
            ``'softmax'``, twice its probabilities minus 1.
        unlabelled_weight: Final mu.
        num_epochs: Epochs of the whole training, in whose terms the ramp is told.
        ramp_up_epochs: Epochs until mu is final.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: See ``BaseJointModel``.
        memory_format: See ``BaseJointModel``.

    Raises:
        ValueError: Parts do not fit together, or an option is unknown.

    Reference:
        Wang and Li, "Towards generic semi-supervised framework for volumetric medical image
        segmentation", NeurIPS 2023, arXiv:2310.11320, and its code.
    """

    def __init__(
        self,
        *,
        backbone: ConfigType,
        decode_head: ConfigType,
        loss_decode: ConfigType,
        diffusion: ConfigType | None = None,
        denoising_stem: ConfigType | None = None,
        difficulty: ConfigType | None = None,
        pseudo_mode: Literal['train', 'eval'] = 'train',
        update_bn_in_sampling: bool = True,
        gumbel: bool = True,
        temperature: float = 1.0,
        sampled_x0: Literal['logits', 'softmax'] = 'logits',
        unlabelled_weight: float = 10.0,
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
        if pseudo_mode not in ('train', 'eval'):
            raise ValueError(f"pseudo_mode must be 'train' or 'eval', got {pseudo_mode!r}")
        if sampled_x0 not in ('logits', 'softmax'):
            raise ValueError(f"sampled_x0 must be 'logits' or 'softmax', got {sampled_x0!r}")
        if temperature <= 0:
            raise ValueError(f'temperature must be > 0, got {temperature}')
        if (diffusion is None) != (denoising_stem is None):
            raise ValueError('give both diffusion and denoising_stem, or neither')
        self.pseudo_mode = pseudo_mode
        self.update_bn_in_sampling = update_bn_in_sampling
        self.gumbel = gumbel
        self.temperature = temperature
        self.sampled_x0 = sampled_x0
        self.backbone: BaseModule = MODELS.build(backbone)
        time_channels = self.backbone.time_channels
        if (time_channels is None) != (diffusion is None):
            raise ValueError(
                'backbone.time_channels must be set with a diffusion and None without one, got '
                f'{time_channels}'
            )
        self.decode_head = MODELS.build(decode_head)
        self.supervised_head = MODELS.build(decode_head)
        self.denoising_head = MODELS.build({**decode_head, 'time_channels': time_channels})
        self.loss_decode = MODELS.build(loss_decode)
        self.diffusion = None if diffusion is None else MODELS.build(diffusion)
        self.denoising_stem = None if denoising_stem is None else MODELS.build(denoising_stem)
        self.difficulty = None if difficulty is None else MODELS.build(difficulty)
        self.num_classes = self.decode_head.num_classes
        for name, part in (('denoising_stem', denoising_stem), ('difficulty', difficulty)):
            if part is not None and part.get('num_classes') != self.num_classes:
                raise ValueError(
                    f'{name}.num_classes must be that of decode_head, {self.num_classes}, got '
                    f'{part.get("num_classes")}'
                )
        self.random_source = RandomSource()
        self.pseudo_health: dict[str, dict[str, Tensor]] | None = None
        """How each branch voted in the last iteration, see ``label_health``."""
        self.lay_out()

    # The paths ------------------------------------------------------------------------------

    def denoise(self, x_t: Tensor, t: Tensor, image: Tensor) -> Tensor:
        """Path xi: what the clean mask is.

        Args:
            x_t: Noisy mask ``(B, C, *space)``.
            t: Noise levels, int64 ``(B,)``.
            image: ``(B, in_channels, *space)``.

        Returns:
            ``(B, C, *space)``.
        """
        x, time = self.denoising_stem(x_t, t, image)
        return self.denoising_head(self.backbone.encode(x, time), time)

    def segment(self, image: Tensor, head: nn.Module) -> Tensor:
        """Paths psi, theta: logits ``(B, C, *space)`` of the image alone."""
        return head(self.backbone(image))

    # Training -------------------------------------------------------------------------------

    def loss_by_gt(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Denoising and difficulty-weighted losses of labelled images."""
        target = stack_seg_maps(data_samples, shape=inputs.shape[2:], device=inputs.device)
        xi_logits = self.denoise_labels(inputs, target)
        psi_logits = self.segment(inputs, self.supervised_head)
        losses = {'loss_denoise': self.loss_decode(xi_logits, target)}
        class_weight = None
        if self.difficulty is not None:
            pred = xi_logits.detach().max(1).indices
            class_weight = self.difficulty(pred, target)
            for number, weight in enumerate(class_weight):
                losses[f'class_weight.{number}'] = weight
        losses['loss_difficulty'] = self.loss_decode(psi_logits, target, class_weight)
        return losses

    def denoise_labels(self, image: Tensor, target: Tensor) -> Tensor:
        """Noise labels at random levels and denoise them; without diffusion, segment.

        Args:
            image: ``(B, in_channels, *space)``.
            target: int64 ``(B, *space)``; ignored voxels belong to no class.

        Returns:
            ``(B, C, *space)``.
        """
        if self.diffusion is None:
            return self.segment(image, self.denoising_head)
        x_0 = signed_one_hot(target, self.num_classes, image.dtype)
        t = self.random_source.times(len(image), self.diffusion.num_steps, image.device)
        x_t = self.diffusion.add_noise(x_0, self.random_source.forward_noise(x_0), t)
        return self.denoise(self.arrange(x_t), t, image)

    def loss_by_pseudo(self, inputs: Tensor) -> dict[str, Tensor]:
        """Loss of unlabelled images against their pseudo-labels."""
        fused = self.make_pseudo_labels(inputs)
        self.pseudo_health = label_health(fused)
        logits = self.segment(inputs, self.decode_head)
        loss = self.loss_decode(logits, fused.label, ignore_index=None)
        return {
            'loss_pseudo': self.consistency_weight * loss,
            'unweighted_pseudo': loss.detach(),
            'consistency_weight': loss.new_tensor(self.consistency_weight),
        }

    @torch.no_grad()
    def make_pseudo_labels(self, image: Tensor) -> FusedLabels:
        """Let xi and psi vote on unlabelled images ``(B, in_channels, *space)``."""
        with self._pseudo_mode():
            pred_x0 = self.sample_x0(image)
            psi_logits = full_precision(self.segment(image, self.supervised_head))
        noise = self.arrange(self.random_source.gumbel(pred_x0)) if self.gumbel else None
        return fuse_pseudo_labels(pred_x0, psi_logits, noise, temperature=self.temperature)

    def sample_x0(self, image: Tensor) -> Tensor:
        """Sample masks ``(B, C, *space)`` in [-1, 1] by xi; without diffusion, its only x_0."""
        if self.diffusion is None:
            return self._to_x0(self.segment(image, self.denoising_head)).clamp(-1, 1)
        like = image.new_empty(len(image), self.num_classes, *image.shape[2:])
        start = self.arrange(self.random_source.start(like))
        return self.diffusion.sample(lambda x_t, t: self._to_x0(self.denoise(x_t, t, image)), start)

    def _to_x0(self, xi_logits: Tensor) -> Tensor:
        """What sampling takes for x_0, before it is clipped."""
        xi_logits = full_precision(xi_logits)
        return xi_logits if self.sampled_x0 == 'logits' else xi_logits.softmax(1).mul(2).sub(1)

    @contextmanager
    def _pseudo_mode(self) -> Iterator[None]:
        """The mode in which pseudo-labels are made; afterwards all is as before."""
        was_training = {module: module.training for module in self.modules()}
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        try:
            if self.pseudo_mode == 'eval':
                self.eval()
            elif not self.update_bn_in_sampling:
                for norm in norms:  # they take the batch's statistics, but do not follow them
                    norm.track_running_stats = False
            yield
        finally:
            for module, training in was_training.items():
                module.training = training
            for norm in norms:
                norm.track_running_stats = True

    def average_decoders(self, keep: float) -> None:
        """Pull the weights of theta towards the mean of xi's and psi's; buffers stay.

        Args:
            keep: Weight of the old value, in [0, 1].
        """
        theta = dict(self.decode_head.named_parameters())
        xi, psi = (
            dict(head.named_parameters()) for head in (self.denoising_head, self.supervised_head)
        )
        pull_towards_mean(
            list(theta.values()), [xi[name] for name in theta], [psi[name] for name in theta], keep
        )

    # Prediction -----------------------------------------------------------------------------

    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch by theta."""
        return BatchPrediction(seg_logits=self.segment(inputs, self.decode_head))

    def _forward(self, inputs: Tensor) -> JointOutput:
        return JointOutput(self.segment(inputs, self.decode_head), None)
