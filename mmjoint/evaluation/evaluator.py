from collections.abc import Sequence
from typing import Literal

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator

from mmjoint.registry import EVALUATOR
from mmjoint.utils.errors import UserError


@EVALUATOR.register_module()
class JointEvaluator(Evaluator):
    """An evaluator that also gives one score to choose the best checkpoint by.

    The score stands in the results as ``selection_score``, so that
    ``CheckpointHook(save_best='selection_score', rule='greater')`` finds it. It is NaN, which
    counts as no improvement, where one of its parts is not defined.

    Args:
        metrics: Metrics or their configs, as for mmengine's ``Evaluator``.
        selection_score: Result keys to combine, as ``('cls/ACC', 'seg/Dice.rim')``. Empty: none.
        selection_reduce: ``sum`` or ``mean``.

    Examples:
        >>> val_evaluator = dict(
        ...     type='JointEvaluator',
        ...     metrics=[
        ...         dict(type='ClassificationMetric'),
        ...         dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        ...     ],
        ...     selection_score=('cls/ACC', 'cls/F1', 'seg/Dice.rim', 'seg/Dice.cup'),
        ...     selection_reduce='mean',
        ... )
    """

    def __init__(
        self,
        metrics: dict | BaseMetric | Sequence,
        selection_score: Sequence[str] = (),
        selection_reduce: Literal['sum', 'mean'] = 'sum',
    ) -> None:
        super().__init__(metrics)
        if isinstance(selection_score, str):
            selection_score = (selection_score,)
        if selection_reduce not in ('sum', 'mean'):
            raise ValueError(f"selection_reduce must be 'sum' or 'mean', got {selection_reduce!r}")
        self.selection_score = tuple(selection_score)
        self.selection_reduce = selection_reduce

    def evaluate(self, size: int) -> dict[str, float]:
        """Evaluate all metrics and add the score.

        Args:
            size: Number of samples of the data set.

        Raises:
            UserError: If no metric gives one of the keys of the score.
        """
        results = super().evaluate(size)
        if self.selection_score:
            missing = [key for key in self.selection_score if key not in results]
            if missing:
                raise UserError(
                    f'selection_score: expected keys of the results, found '
                    f'{", ".join(missing)}; use some of {", ".join(sorted(results))}'
                )
            reduce = {'sum': np.sum, 'mean': np.mean}[self.selection_reduce]
            parts = [results[key] for key in self.selection_score]
            results['selection_score'] = float(reduce(parts))
        return results
