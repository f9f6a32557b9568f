"""What ``test_cfg`` of a model says: predict inputs whole, or by overlapping windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from mmjoint.functional.dirichlet import expected_probs, predictive_entropy
from mmjoint.functional.sliding_window import labels_and_entropy, sliding_window_inference
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

from .predictions import BatchPrediction

MODES = ('whole', 'slide')
WINDOW_WEIGHTS = ('uniform', 'gaussian')

Network = Callable[[Tensor], BatchPrediction]


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Settings of ``test_cfg=dict(mode='slide', ...)``, and prediction by them.

    Args:
        roi_size: Size of a window, one number for all axes or one for each.
        stride: Step from window to window, likewise. Position k of an axis is
            min(k * stride, length - roi_size).
        overlap: In place of ``stride``, the fraction of a window that the next one covers, in
            [0, 1).
        weights: Weights of a window's elements in the average, ``uniform`` or ``gaussian``.
        window_batch: Number of windows that the network sees at once.
        bounded: Let ``predict`` keep labels and entropy alone, neither logits nor probabilities
            of the whole input.

    Raises:
        ValueError: A setting is impossible.
    """

    roi_size: int | Sequence[int]
    stride: int | Sequence[int] | None = None
    overlap: float | Sequence[float] | None = None
    weights: Literal['uniform', 'gaussian'] = 'uniform'
    window_batch: int = 1
    bounded: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        if (self.stride is None) == (self.overlap is None):
            raise ValueError(
                'test_cfg needs either stride or overlap, got '
                f'stride={self.stride!r} and overlap={self.overlap!r}'
            )
        for name in ('roi_size', 'stride'):
            value = getattr(self, name)
            if value is not None and not all(_is_count(n) for n in _each(value)):
                raise ValueError(f'test_cfg.{name} must be integers >= 1, got {value!r}')
        if self.overlap is not None and not all(_is_fraction(v) for v in _each(self.overlap)):
            raise ValueError(f'test_cfg.overlap must lie in [0, 1), got {self.overlap!r}')
        lengths = {
            name: len(value)
            for name in ('roi_size', 'stride', 'overlap')
            if _is_sequence(value := getattr(self, name))
        }
        if len(set(lengths.values())) > 1:
            found = ' and '.join(f'{count} of {name}' for name, count in lengths.items())
            raise ValueError(f'test_cfg must give one number per axis throughout, got {found}')
        if self.weights not in WINDOW_WEIGHTS:
            raise ValueError(
                f'test_cfg.weights must be one of {list(WINDOW_WEIGHTS)}, got {self.weights!r}'
            )
        if not _is_count(self.window_batch):
            raise ValueError(
                f'test_cfg.window_batch must be an integer >= 1, got {self.window_batch!r}'
            )
        if not isinstance(self.bounded, bool):
            raise ValueError(f'test_cfg.bounded must be True or False, got {self.bounded!r}')

    @torch.no_grad()
    def infer(self, inputs: Tensor, network: Network) -> BatchPrediction:
        """Predict by windows; probabilities and evidence are averaged.

        Args:
            inputs: ``(B, C, *space)``.
            network: Predicts windows.

        Returns:
            ``seg_logits`` are the logarithm of the mean probabilities, so that their softmax gives
            these back.

        Raises:
            UserError: The network predicts classes of images.
            ValueError: The settings do not fit the input.
        """
        return self._run(inputs, network, average={'seg_logits': 'log_probs'})

    @torch.no_grad()
    def infer_labels(self, inputs: Tensor, network: Network) -> tuple[Tensor, Tensor]:
        """Predict by windows and keep neither probabilities nor logits of the whole input.

        Args:
            inputs: ``(B, C, *space)``.
            network: Predicts windows, of at most 256 classes.

        Returns:
            Labels, uint8, and predictive entropy in nats, float32, each ``(B, 1, *space)``. The
            entropy is that of the evidence where the network gives some.

        Raises:
            UserError, ValueError: See :meth:`infer`.
        """
        result = self._run(inputs, network, average={'seg_logits': 'probs'}, reduction=_reduce)
        return result['labels'], result['predictive_entropy']

    def _run(self, inputs: Tensor, network: Network, **options: object) -> object:
        def predictor(windows: Tensor) -> BatchPrediction:
            output = network(windows)
            if output.cls_logits is not None or output.cls_alpha is not None:
                raise UserError(
                    f"test_cfg.mode='slide': {NO_CLASS_OF_WINDOWS}; set test_cfg.mode='whole'"
                )
            return output

        return sliding_window_inference(
            inputs,
            predictor,
            self.roi_size,
            stride=self.stride,
            overlap=self.overlap,
            weights=self.weights,
            window_batch=self.window_batch,
            **options,
        )


NO_CLASS_OF_WINDOWS = (
    'expected a model of masks alone, found one that classifies images, and a class of a window is '
    'not the class of its image'
)


def parse_test_cfg(test_cfg: ConfigType | None) -> SlidingWindow | None:
    """Read and check ``test_cfg``.

    Args:
        test_cfg: None or ``dict(mode='whole')``: inputs are predicted whole. ``dict(mode='slide',
            ...)`` with the arguments of :class:`SlidingWindow`: by windows. With ``'whole'`` these
            may stand there too, without effect, so that the mode can be changed alone.

    Returns:
        The settings of the windows, None for whole inputs.

    Raises:
        ValueError: The mode or a key is unknown, or a setting is missing or impossible.
    """
    if test_cfg is None:
        return None
    settings = dict(test_cfg)
    mode = settings.pop('mode', None)
    if mode not in MODES:
        raise ValueError(f'test_cfg.mode must be one of {list(MODES)}, got {mode!r}')
    known = [field.name for field in fields(SlidingWindow)]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f'test_cfg takes {["mode", *known]}, got the unknown key {unknown[0]!r}')
    if mode == 'whole':
        return None
    if settings.get('roi_size') is None:
        raise ValueError("test_cfg.mode='slide' needs test_cfg.roi_size, the size of a window")
    return SlidingWindow(**settings)


def _reduce(mean: BatchPrediction) -> dict[str, Tensor]:
    reduced = labels_and_entropy(mean.seg_logits)
    if mean.seg_evidence is not None:
        probs = expected_probs(mean.seg_evidence + 1)
        reduced['predictive_entropy'] = predictive_entropy(probs)
    return reduced


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _each(value: object) -> Sequence:
    return value if _is_sequence(value) and len(value) else (value,)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_fraction(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
