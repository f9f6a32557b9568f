"""MultiMix: classes and masks learnt together, each of its own images and of unlabelled ones."""

from typing import Literal

import torch
from torch import Tensor

from mmjoint.functional.categorical import confident_labels, elementwise_kl
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

from ..joint import BatchPrediction, JointModel, JointOutput
from ..layers import in_mode
from ..losses import full_precision

SEG_LABELLED, SEG_UNLABELLED = 'seg_labelled', 'seg_unlabelled'
CLS_LABELLED, CLS_WEAK, CLS_STRONG = 'cls_labelled', 'cls_weak', 'cls_strong'
BRANCHES = (SEG_LABELLED, SEG_UNLABELLED, CLS_LABELLED, CLS_WEAK, CLS_STRONG)
KL_OPTIONS = ('none', 'single_channel', 'bernoulli')


@MODELS.register_module()
class MultiMix(JointModel):
    r"""Joint model that learns from five batches at once, whose images need not be related.

    .. code:: text

        z_s, z_u  logits of the masks of labelled and unlabelled images   'seg_labelled', ..
        c         class logits of labelled images                          'cls_labelled'
        w, t      of the weak and the strong view of unlabelled images     'cls_weak', 'cls_strong'

        L_dice = decode_head.loss_by_feat(z_s, masks)       'seg_labelled.<name>'
        L_kl   = mean(q_s (log q_s - log q_u))              'seg_unlabelled.loss_kl'
                 q = softmax over the channels of z
        L_cls  = cls_head.loss(c, classes)                  'cls_labelled.<name>'
        L_ssl  = loss_pseudo(t, w)                          'cls_strong.<name>'
        L = L_dice + kl_weight L_kl + L_cls + L_ssl, each weighted where it is configured

        forward(inputs, samples, mode='predict')            as any joint model

    What no loss needs is not computed: decode head and saliency of classified images, the graph of
    weak views, and, unless ``kl='bernoulli'``, everything of unlabelled images without a class. As
    no sample depends on another, the losses and gradients are those of one batch of all images, up
    to rounding; dropout draws other numbers.

    Parts may lack: without ``bridge`` it is plain multi-task learning, without ``loss_pseudo``
    supervised, without one of the heads a model of one task. ``branches`` says which batches are
    needed then; others are ignored.

    Args:
        backbone: Any backbone that gives a tuple of maps.
        decode_head: Segmentation head on logits, or None.
        cls_head: Classification head on logits, or None.
        neck: From tuple to tuple, or None.
        bridge: Config of a ``SaliencyBridge``, or None.
        loss_pseudo: Config of the loss between the strong and the weak view's class logits, called
            as ``loss(strong, weak)`` and with a ``threshold``, or None for supervised classes.
        kl: ``'single_channel'``: as in the original, over the one channel of a sigmoid head. Its
            softmax is 1, so the term is 0, and nothing is computed. ``'bernoulli'``: over
            background and foreground, as the paper means it, though it pairs the pixels of images
            that have nothing to do with each other; the mean goes over both channels.
            ``'none'``: no such term.
        kl_weight: Weight of the term.
        class_only: Predict the class alone, by the encoder: for test sets without masks.
        legacy_eval_dropout: Predict with the encoder's dropout on, as the original does by mistake.
            For comparison only.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: See ``BaseJointModel``.
        memory_format: See ``BaseJointModel``.

    Raises:
        ValueError: Parts do not fit together, or an option is unknown.
        UserError: In training, a branch is missing or unknown.

    Reference:
        Haque et al., "MultiMix: Sparingly-supervised, extreme multitask learning from medical
        images", ISBI 2021, arXiv:2010.14731, and its code.
    """

    def __init__(
        self,
        *,
        backbone: ConfigType,
        decode_head: ConfigType | None = None,
        cls_head: ConfigType | None = None,
        neck: ConfigType | None = None,
        bridge: ConfigType | None = None,
        loss_pseudo: ConfigType | None = None,
        kl: Literal['none', 'single_channel', 'bernoulli'] = 'single_channel',
        kl_weight: float = 0.01,
        class_only: bool = False,
        legacy_eval_dropout: bool = False,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        test_cfg: ConfigType | None = None,
        memory_format: Literal['channels_first', 'channels_last'] = 'channels_first',
    ) -> None:
        super().__init__(
            backbone=backbone,
            decode_head=decode_head,
            cls_head=cls_head,
            neck=neck,
            bridge=bridge,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            test_cfg=test_cfg,
            memory_format=memory_format,
        )
        if kl not in KL_OPTIONS:
            raise ValueError(f'kl must be one of {list(KL_OPTIONS)}, got {kl!r}')
        self._check_kl(kl)
        if self.cls_head is None and (loss_pseudo is not None or class_only):
            raise ValueError('loss_pseudo and class_only need a cls_head')
        if kl_weight < 0:
            raise ValueError(f'kl_weight must be >= 0, got {kl_weight}')
        self.kl = kl
        self.kl_weight = kl_weight
        self.class_only = class_only
        self.legacy_eval_dropout = legacy_eval_dropout
        self.loss_pseudo = None if loss_pseudo is None else MODELS.build(loss_pseudo)
        needed = {
            SEG_LABELLED: self.decode_head is not None,
            SEG_UNLABELLED: kl == 'bernoulli',
            CLS_LABELLED: self.cls_head is not None,
            CLS_WEAK: loss_pseudo is not None,
            CLS_STRONG: loss_pseudo is not None,
        }
        self.branches = tuple(branch for branch in BRANCHES if needed[branch])
        """The batches that training needs."""

    def _check_kl(self, kl: str) -> None:
        if self.decode_head is None:
            if kl == 'bernoulli':
                raise ValueError("kl='bernoulli' needs a decode_head")
            return
        if kl == 'single_channel' and not getattr(self.decode_head, 'single_logit', False):
            raise ValueError(
                "kl='single_channel' needs a decode_head of one logit (single_logit=True); set kl "
                "to 'bernoulli' or 'none'"
            )
        if kl == 'bernoulli' and self.decode_head.num_classes != 2:
            raise ValueError(
                f"kl='bernoulli' needs two pixel classes, got {self.decode_head.num_classes}"
            )

    # Training -------------------------------------------------------------------------------

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: SampleList | dict[str, SampleList] | None = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
    ) -> dict[str, Tensor] | SampleList | JointOutput:
        """Dispatch to ``loss``, ``predict`` or ``_forward``.

        Args:
            inputs: ``(B, C, H, W)``; for 'loss' one such tensor per branch.
            data_samples: The samples; for 'loss' one list per branch.
            mode: What to do.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        found = set(inputs) if isinstance(inputs, dict) else None
        if found is None or not set(self.branches) <= found <= set(BRANCHES):
            kind = type(inputs).__name__ if found is None else sorted(found)
            raise UserError(
                f'train_dataloader: expected samples of the branches {list(self.branches)} in '
                f'every batch, found {kind}; draw batches by MultiSourceSampler and sort them by '
                'MultiBranchDataPreprocessor'
            )
        inputs = {branch: self.arrange(inputs[branch]) for branch in self.branches}
        return self.loss(inputs, data_samples)

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, SampleList]
    ) -> dict[str, Tensor]:
        """Losses of all branches; keys with "loss" are trained, others only logged."""
        losses = {}
        if self.decode_head is not None:
            losses |= self.loss_of_masks(inputs, data_samples[SEG_LABELLED])
        if self.cls_head is not None:
            feats = self.extract_feat(inputs[CLS_LABELLED])
            found = self.cls_head.loss(feats, data_samples[CLS_LABELLED])
            losses |= {f'{CLS_LABELLED}.{name}': value for name, value in found.items()}
        if self.loss_pseudo is not None:
            losses |= self.loss_of_views(inputs[CLS_WEAK], inputs[CLS_STRONG])
        return losses

    def loss_of_masks(self, inputs: dict[str, Tensor], samples: SampleList) -> dict[str, Tensor]:
        """L_dice and L_kl.

        Args:
            inputs: Images by branch.
            samples: The labelled ones' samples.
        """
        logits = self.segment(inputs[SEG_LABELLED])
        found = self.decode_head.loss_by_feat(logits, samples)
        losses = {f'{SEG_LABELLED}.{name}': value for name, value in found.items()}
        if self.kl == 'single_channel':
            losses[f'{SEG_UNLABELLED}.loss_kl'] = logits.new_zeros(())
        elif self.kl == 'bernoulli':
            other = self.segment(inputs[SEG_UNLABELLED])
            if logits.shape != other.shape:
                raise ValueError(
                    f"kl='bernoulli' pairs {SEG_LABELLED} with {SEG_UNLABELLED}: expected batches "
                    f'of one shape, got {tuple(logits.shape)} and {tuple(other.shape)}'
                )
            kl = elementwise_kl(full_precision(logits), full_precision(other)).mean()
            losses[f'{SEG_UNLABELLED}.loss_kl'] = self.kl_weight * kl
        return losses

    def loss_of_views(self, weak: Tensor, strong: Tensor) -> dict[str, Tensor]:
        """L_ssl: the strong view's class should be that of which the weak one is sure.

        Args:
            weak: ``(B, C, H, W)``.
            strong: Likewise, of the same images.
        """
        with torch.no_grad():  # in training mode: dropout is on
            weak_logits = self.classify(weak)
        loss = self.loss_pseudo(self.classify(strong), weak_logits)
        accepted = confident_labels(
            full_precision(weak_logits), self.loss_pseudo.threshold
        ).accepted
        return {
            f'{CLS_STRONG}.{self.loss_pseudo.loss_name}': loss,
            f'{CLS_WEAK}.accepted': accepted.float().mean(),
        }

    def segment(self, inputs: Tensor) -> Tensor:
        """Logits of the masks of a batch, at the decode head's size."""
        return self.decode_head(self.decode_feats(inputs, self.extract_feat(inputs)))

    # Prediction -----------------------------------------------------------------------------

    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict mask and class of a batch; see the class for the exceptions."""
        if self.legacy_eval_dropout:
            with in_mode([self.backbone], training=True):
                return self._infer_parts(inputs)
        return self._infer_parts(inputs)

    def _forward(self, inputs: Tensor) -> JointOutput:
        return (
            JointOutput(None, self.classify(inputs))
            if self.class_only
            else super()._forward(inputs)
        )

    def _infer_parts(self, inputs: Tensor) -> BatchPrediction:
        if self.class_only:
            return BatchPrediction(cls_logits=self.classify(inputs))
        return super().infer_window(inputs)
