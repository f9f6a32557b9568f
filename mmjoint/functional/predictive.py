"""Mean and spread of predicted probabilities over passes, members or views, in constant memory."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .dirichlet import predictive_entropy

_BLOCK = 2**16
# Probabilities that are kept and, where asked for, their entropy.
_Converted = tuple[Tensor, Tensor | None]


def _of_probs(probs: Tensor, with_entropy: bool) -> _Converted:
    entropy = predictive_entropy(probs[None])[0] if with_entropy else None
    return probs[1:] if len(probs) == 2 else probs, entropy


def _of_logits(logits: Tensor, with_entropy: bool) -> _Converted:
    return _of_probs(logits.softmax(0), with_entropy)


def _of_margin(margin: Tensor, with_entropy: bool) -> _Converted:
    probs = torch.sigmoid(margin)
    if not with_entropy:
        return probs, None
    size = margin.abs()
    return probs, F.softplus(-size).addcmul_(size, torch.sigmoid(-size))


class StreamingProbs:
    r"""Take in probability maps one by one and give their statistics at any time.

    Memory does not depend on the number of maps: a running mean, a running sum of squared
    deviations (Welford's recurrence, which does not cancel) and a running sum of entropies are all
    that is kept, of two classes only the second one's. With M maps :math:`p_m`:

    - mean :math:`\bar p`; ``predictive_entropy`` :math:`H(\bar p)`;
    - ``expected_entropy`` :math:`\frac1M \sum_m H(p_m)`; ``mutual_information``, the difference;
    - ``variance``: mean over classes of the population variance of :math:`p_m`.

    Entropies are in nats.

    Args:
        spread: Whether to follow what needs every single map: expected entropy, mutual
            information, variance.

    Reference:
        Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning", ICML 2018, for the
        entropies; Welford, Technometrics 4 (1962), for the recurrence.
    """

    def __init__(self, *, spread: bool = True) -> None:
        self.spread = spread
        self.count = 0
        self.num_classes = 0
        self._mean: Tensor  # (C, *space), or (1, *space) of the second of two classes
        self._squares: Tensor
        self._entropy: Tensor

    def update(self, probs: Tensor) -> None:
        """Take in a map of probabilities.

        Args:
            probs: ``(C, *space)``, at least two classes, sums over axis 0 are 1.
        """
        self._take(probs, len(probs), _of_probs)

    def update_logits(self, logits: Tensor) -> None:
        """Take in the softmax of a map of logits.

        Args:
            logits: ``(C, *space)``, at least two classes.
        """
        if len(logits) == 2:
            self.update_margin(logits[1:] - logits[:1])
        else:
            self._take(logits, len(logits), _of_logits)

    def update_margin(self, margin: Tensor) -> None:
        """Take in a map of two classes by the difference of their logits.

        It is softmax over two classes with half the work, and its entropy does not cancel.

        Args:
            margin: ``(1, *space)``, logit of class 1 minus logit of class 0.
        """
        self._take(margin, 2, _of_margin)

    def _take(
        self, maps: Tensor, num_classes: int, convert: Callable[[Tensor, bool], _Converted]
    ) -> None:
        kept = 1 if num_classes == 2 else num_classes
        if not self.count:
            self.num_classes = num_classes
            self._mean = maps.new_zeros((kept, *maps.shape[1:]))
            if self.spread:
                self._squares = torch.zeros_like(self._mean)
                self._entropy = torch.zeros_like(self._mean[:1])
        elif num_classes != self.num_classes or maps.shape[1:] != self._mean.shape[1:]:
            raise ValueError(
                f'maps must agree in classes and shape: got {num_classes} classes of '
                f'{tuple(maps.shape[1:])} after {self.num_classes} of '
                f'{tuple(self._mean.shape[1:])}'
            )
        self.count += 1
        flat, mean = maps.reshape(len(maps), -1), self._mean.view(kept, -1)
        length = mean.shape[1]
        # A large map in one piece would go through memory once for each operation.
        step = _BLOCK if maps.device.type == 'cpu' else max(1, length)
        for start in range(0, length, step):
            block = slice(start, start + step)
            probs, entropy = convert(flat[:, block], self.spread)
            delta = probs - mean[:, block]
            mean[:, block].add_(delta, alpha=1 / self.count)
            if self.spread:
                share = (self.count - 1) / self.count
                self._squares.view(kept, -1)[:, block].addcmul_(delta, delta, value=share)
                self._entropy.view(1, -1)[:, block].add_(entropy)

    def mean(self) -> Tensor:
        """Give the mean probabilities ``(C, *space)``.

        Raises:
            ValueError: Nothing was taken in.
        """
        if not self.count:
            raise ValueError('no map was taken in yet')
        if self.num_classes == 2:
            return torch.cat([1 - self._mean, self._mean])
        return self._mean.clone()

    def std(self) -> Tensor:
        """Give the population standard deviation of each class probability, ``(C, *space)``.

        Raises:
            ValueError: ``spread`` is off.
        """
        self._need_spread()
        std = (self._squares / self.count).sqrt_()
        return std.repeat(2, *[1] * (std.dim() - 1)) if self.num_classes == 2 else std

    def measures(self) -> dict[str, Tensor]:
        """Give all measures, each ``(1, *space)``; without ``spread`` the predictive entropy."""
        total = predictive_entropy(self.mean()[None])[0]
        if not self.spread:
            return {'predictive_entropy': total}
        expected = self._entropy / self.count
        return {
            'predictive_entropy': total,
            'expected_entropy': expected,
            # Rounding may undercut 0.
            'mutual_information': (total - expected).clamp_min(0.0),
            'variance': (self._squares / self.count).mean(0, keepdim=True),
        }

    def _need_spread(self) -> None:
        if not self.spread:
            raise ValueError('the spread over maps was not followed; use spread=True')
