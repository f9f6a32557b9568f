"""Mean and spread of predicted probabilities over passes, members or views, in constant memory."""

import torch
from torch import Tensor

from .dirichlet import predictive_entropy


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
        entropy = predictive_entropy(probs[None])[0] if self.spread else None
        self._add(probs[1:] if len(probs) == 2 else probs, len(probs), entropy)

    def update_margin(self, margin: Tensor) -> Tensor:
        """Take in a map of two classes by the difference of their logits.

        It is softmax over two classes with half the work, and its entropy does not cancel.

        Args:
            margin: ``(1, *space)``, logit of class 1 minus logit of class 0.

        Returns:
            Probability of class 1, ``(1, *space)``.
        """
        size = margin.abs()
        odds = torch.exp(-size)
        unlikely = odds / (1 + odds)
        probs = torch.where(margin > 0, 1 - unlikely, unlikely)
        entropy = torch.log1p(odds).addcmul_(size, unlikely) if self.spread else None
        self._add(probs, 2, entropy)
        return probs

    def _add(self, probs: Tensor, num_classes: int, entropy: Tensor | None) -> None:
        self.count += 1
        if self.count == 1:
            self.num_classes = num_classes
            self._mean = probs.clone()
            if entropy is not None:
                self._squares = torch.zeros_like(probs)
                self._entropy = entropy.clone()
            return
        if num_classes != self.num_classes or probs.shape != self._mean.shape:
            raise ValueError(
                f'maps must agree in classes and shape: got {num_classes} classes of '
                f'{tuple(probs.shape[1:])} after {self.num_classes} of '
                f'{tuple(self._mean.shape[1:])}'
            )
        delta = probs - self._mean
        self._mean.add_(delta, alpha=1 / self.count)
        if entropy is not None:
            self._squares.addcmul_(delta, delta, value=(self.count - 1) / self.count)
            self._entropy.add_(entropy)

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
