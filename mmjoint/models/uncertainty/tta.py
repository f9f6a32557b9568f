from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmjoint.functional.dirichlet import expected_probs
from mmjoint.functional.predictive import StreamingProbs
from mmjoint.functional.views import ImageView, ImageViews, Shrink, View, ViewSet, views_of
from mmjoint.registry import UNCERTAINTY
from mmjoint.structures import JointDataSample, SampleList
from mmjoint.utils.errors import UserError

from ..joint import BatchPrediction, InferringModel
from .base import Streams, UncertaintyEstimator

_IMAGE = (-2, -1)


@UNCERTAINTY.register_module(name=['TestTimeAugmentation', 'tta'])
class TestTimeAugmentation(UncertaintyEstimator):
    """Mean of the predictions for flipped, turned and, if wanted, shrunk views of an image.

    ``source='inputs'``: the views are exact permutations of the network's input, padding included;
    what is predicted for them is permuted back at that size. It takes images and volumes.

    ``source='image'``: the views are made of the image at its own size, in front of the pipeline's
    resizing, and each goes through the pipeline; with ``shrink`` the same views follow once more,
    shrunk onto a black canvas, so that the network sees smaller objects. Of 2-D images only. The
    test pipeline must be adapted (:meth:`adapt_pipeline`), which the tools do.

    Views of one shape run as one batch: turned views of an input that is not square, or is not
    resized to a fixed size, make a second one. Without ``spread`` (and without an observer) the
    maps of shrunk views that share a crop are summed, in float64, and enlarged once. With it each
    view's map is needed. A model that predicts by windows gets views of its input one by one.

    Args:
        model: A built model of masks, image classes, both, or several tasks.
        source: What the views are made of.
        views: ``dihedral``: four turns of the image and of its mirror image; ``flips``: along all
            space axes, 4 of an image, 8 of a volume. None: ``dihedral`` for images, ``flips`` for
            volumes.
        shrink: Factor in (0, 1] of the shrunk half of the views, only with ``source='image'``; None
            leaves that half out.
        centre: How shrunk views are centred, see :class:`mmjoint.functional.views.Shrink`.
        batch_size: Number of views that the network sees at once; None: all of a shape.
        fused: False predicts the views one by one and brings each map back at the size of the
            image by its definition; the yardstick of the savings.
        keep_std: See :class:`UncertaintyEstimator`.
        spread: See :class:`UncertaintyEstimator`.
        seg_temperature: See :class:`UncertaintyEstimator`.
        cls_temperature: See :class:`UncertaintyEstimator`.

    Raises:
        ValueError: If a setting is impossible.
    """

    __test__ = False  # pytest takes classes of such a name for tests

    def __init__(
        self,
        model: InferringModel,
        *,
        source: Literal['inputs', 'image'] = 'inputs',
        views: ViewSet | None = None,
        shrink: float | None = None,
        centre: Literal['floor', 'exact'] = 'floor',
        batch_size: int | None = None,
        fused: bool = True,
        keep_std: bool = False,
        spread: bool = True,
        seg_temperature: float = 1.0,
        cls_temperature: float = 1.0,
    ) -> None:
        super().__init__(
            model,
            keep_std=keep_std,
            spread=spread,
            seg_temperature=seg_temperature,
            cls_temperature=cls_temperature,
        )
        if source not in ('inputs', 'image'):
            raise ValueError(f"source must be 'inputs' or 'image', got {source!r}")
        if views not in (None, 'dihedral', 'flips'):
            raise ValueError(f"views must be 'dihedral' or 'flips', got {views!r}")
        if shrink is not None and source != 'image':
            raise ValueError("shrink needs source='image': views of the input are permutations")
        if batch_size is not None and not batch_size >= 1:
            raise ValueError(f'batch_size must be >= 1 or None, got {batch_size!r}')
        self.source = source
        self.views = views
        self.shrink = None if shrink is None else Shrink(shrink, centre)
        self.batch_size = batch_size if fused else 1
        self.fused = fused

    @classmethod
    def adapt_pipeline(
        cls, pipeline: Sequence[Mapping[str, Any]], uq: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        """Put ``TTAViews`` around the pipeline where the views are made of the image."""
        if uq.get('source') != 'image':
            return list(pipeline)
        options = {key: uq[key] for key in ('views', 'shrink', 'centre', 'fused') if key in uq}
        return [dict(type='TTAViews', transforms=list(pipeline), **options)]

    # Views of the network's input ------------------------------------------------------------

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict all views of the network's input, and permute what is predicted back."""
        space = inputs.dim() - 2
        axes = tuple(range(-space, 0))
        try:
            views = views_of(self.views, space)
        except ValueError as error:
            raise UserError(f'tta: {error}') from error
        # By windows an input may be large, and each view's maps as well.
        step = len(views) if self.model.windows is None else 1
        for start in range(0, len(views), step):
            chosen = views[start : start + step]
            seen = [view.apply(inputs, axes)[0] for view in chosen]
            outputs = self._in_batches(seen, torch.stack)
            maps = {
                name: _joined(
                    [
                        None if (one := getattr(output, name)) is None else view.invert(one, axes)
                        for view, output in zip(chosen, outputs, strict=True)
                    ]
                )
                for name in ('seg_logits', 'task_logits')
            }
            yield BatchPrediction(
                **maps,
                cls_logits=_joined([output.cls_logits for output in outputs]),
                cls_alpha=_joined([output.cls_alpha for output in outputs]),
            )

    def _in_batches(self, seen: list[Tensor], prepare: Any) -> list[BatchPrediction]:
        """Predict views, those of one shape together; one prediction per view, in their order."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, view in enumerate(seen):
            groups.setdefault(tuple(view.shape), []).append(number)
        outputs: list[Any] = [None] * len(seen)
        for group in groups.values():
            step = self.batch_size or len(group)
            for start in range(0, len(group), step):
                numbers = group[start : start + step]
                batch = prepare([seen[number] for number in numbers])
                output = self.model.infer(self.model.arrange(batch))
                for place, number in enumerate(numbers):
                    outputs[number] = BatchPrediction(
                        *(None if part is None else part[place : place + 1] for part in output)
                    )
        return outputs

    # Views of the image ----------------------------------------------------------------------

    def _predict(self, inputs: Tensor, data_samples: SampleList) -> None:
        if self.source == 'inputs':
            super()._predict(inputs, data_samples)
            return
        for sample in data_samples:
            streams = self._streams()
            self._predict_image(sample, streams)
            self.fill(sample, streams)

    def _predict_image(self, sample: JointDataSample, streams: Streams) -> None:
        seg, cls, tasks = streams
        plan = ImageViews(views_of(self.views, 2), sample.metainfo['ori_shape'][:2], self.shrink)
        seen = self._seen(sample, plan)
        outputs = self._in_batches(seen, self._preprocessed)
        for output in outputs:
            if output.cls_alpha is not None:
                cls.update(expected_probs(output.cls_alpha.float())[0])
            elif output.cls_logits is not None:
                cls.update(output.cls_logits.float().softmax(1)[0])
        if outputs[0].task_logits is not None:
            self._take_in_tasks(
                plan, seen, [output.task_logits for output in outputs], sample, tasks
            )
        if outputs[0].seg_logits is None:
            return
        # Without the preprocessor's padding.
        logits = [
            output.seg_logits.float()[..., : view.shape[-2], : view.shape[-1]]
            for view, output in zip(seen, outputs, strict=True)
        ]
        if self.fused and logits[0].shape[1] == 2:
            # Their difference is enough, with half the work.
            logits = [one[:, 1:] - one[:, :1] for one in logits]
        if not self.spread and self.observer is None:
            seg.update(self._mean(plan, logits))
            return
        for number, (member, one) in enumerate(zip(plan.members, logits, strict=True)):
            if self.fused and not member.shrunk and self.observer is None:
                maps = _enlarged(member.view.invert(one, _IMAGE), plan.size)[0]
                (seg.update_margin if len(maps) == 1 else seg.update_logits)(maps)
                continue
            probs = self._map(plan, member, one)
            seg.update(probs)
            if self.observer is not None:
                self.observer(sample, number, probs)

    def _take_in_tasks(
        self,
        plan: ImageViews,
        seen: list[Tensor],
        logits: list[Tensor],
        sample: JointDataSample,
        tasks: StreamingProbs,
    ) -> None:
        for number, (member, view, one) in enumerate(zip(plan.members, seen, logits, strict=True)):
            # Without the preprocessor's padding.
            one = one.float()[..., : view.shape[-2], : view.shape[-1]]
            if self.fused:
                probs = _enlarged(member.view.invert(one, _IMAGE), plan.size)[0].sigmoid()
                if member.shrunk:
                    probs = plan.shrink.undo(probs, member.view.flipped_axes()).clamp_(0, 1)
            else:
                probs = _yes_by_definition(plan, member, one)
            probs = probs.float()
            tasks.update(torch.stack([1 - probs, probs]))
            if self.observer is not None:
                self.observer(sample, number, probs)

    def _seen(self, sample: JointDataSample, plan: ImageViews) -> list[Tensor]:
        """Give the views ``(C, h, w)`` as the pipeline made them; the sample forgets them."""
        images = sample.get('view_images')
        if images is None:
            raise UserError(
                f'{sample.metainfo.get("img_path", "a sample")}: expected the views of the image '
                "for tta with source='image', found none; put the transform TTAViews around the "
                'test pipeline, as adapt_pipeline does'
            )
        del sample.view_images
        images = [torch.from_numpy(image) for image in images]
        if not self.fused:
            return images
        # Of a transposed base the flips alone are left to do.
        return [
            View(False, member.view.flips).apply(images[member.base], _IMAGE)
            for member in plan.members
        ]

    def _preprocessed(self, seen: list[Tensor]) -> Tensor:
        samples = [JointDataSample() for _ in seen]
        return self.data_preprocessor(dict(inputs=seen, data_samples=samples), False)['inputs']

    def _map(self, plan: ImageViews, member: ImageView, logits: Tensor) -> Tensor:
        """Give the probabilities ``(C, H, W)`` that a view's logits mean for the image."""
        if not self.fused:
            return _by_definition(plan, member, logits)
        probs = _probs_at(member.view.invert(logits, _IMAGE), plan.size)
        if member.shrunk:
            probs = plan.shrink.undo(probs, member.view.flipped_axes()).clamp_(0, 1)
        return torch.cat([1 - probs, probs]) if len(probs) == 1 else probs

    def _mean(self, plan: ImageViews, logits: list[Tensor]) -> Tensor:
        total = 0.0
        crops: dict[tuple[int, int], tuple[Tensor, tuple[bool, bool]]] = {}
        for member, one in zip(plan.members, logits, strict=True):
            if not self.fused:
                total = _add(total, _by_definition(plan, member, one))
                continue
            probs = _probs_at(member.view.invert(one, _IMAGE), plan.size)
            if not member.shrunk:
                total = _add(total, probs)
                continue
            flipped = member.view.flipped_axes()
            crop = plan.shrink.crop(plan.size, flipped)
            if crop in crops:
                crops[crop][0].add_(probs)
            else:
                crops[crop] = probs, flipped
        for probs, flipped in crops.values():
            total = _add(total, plan.shrink.undo(probs, flipped))
        mean = (total / len(plan)).float().clamp_(0, 1)
        return torch.cat([1 - mean, mean]) if len(mean) == 1 else mean


def _add(total: Tensor | float, probs: Tensor) -> Tensor:
    return total.add_(probs) if isinstance(total, Tensor) else probs.double()


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat(parts)


def _probs_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring logits ``(1, C, h, w)`` to the size of the image, as probabilities ``(C, H, W)``.

    Of two classes it takes the difference, ``(1, 1, h, w)``, and gives the second, ``(1, H, W)``.
    """
    logits = _enlarged(logits, size)[0]
    # Not in place: a map of the image's own size is still the network's.
    return logits.sigmoid() if len(logits) == 1 else logits.softmax(0)


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    maps = maps.contiguous()  # transposed maps take three times as long
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode='bilinear', align_corners=False)


def _yes_by_definition(plan: ImageViews, member: ImageView, logits: Tensor) -> Tensor:
    """Probabilities ``(C, H, W)`` of channels that are independent of each other."""
    halves = [
        _by_definition(plan, member, torch.cat([torch.zeros_like(one), one], 1))
        for one in logits.split(1, 1)
    ]
    return torch.stack([probs[1] for probs in halves])


def _by_definition(plan: ImageViews, member: ImageView, logits: Tensor) -> Tensor:
    probs = _enlarged(logits, plan.shape_of(member))[0].softmax(0)
    if member.shrunk:
        maps = [plan.shrink.undo_plain(one) for one in probs.cpu().numpy()]
        probs = torch.stack([torch.from_numpy(one) for one in maps]).to(probs)
    return member.view.invert(probs, _IMAGE)
