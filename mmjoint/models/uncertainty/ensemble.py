from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from mmjoint.registry import UNCERTAINTY
from mmjoint.structures import JointDataSample

from ..joint import BatchPrediction, InferringModel
from .base import UncertaintyEstimator


@UNCERTAINTY.register_module(name=['Ensemble', 'ensemble'])
class Ensemble(UncertaintyEstimator):
    """Mean of models that were trained independently, from other seeds.

    Each member is one pass. The weights of all members are kept in memory, their maps are not.

    .. code:: python

        uq = dict(type='ensemble', checkpoints=['work_dirs/seed1/epoch_20.pth', ...])

    Args:
        model: The first member, which holds the weights of the tested checkpoint. Its data
            preprocessor serves all members.
        checkpoints: The further members: models of the same build, at least one. In a config and on
            the command line (``--members``) they are checkpoint files of that model, which
            ``mmjoint.apis.uncertainty.build_estimator`` loads.
        keep_std: See :class:`UncertaintyEstimator`.
        spread: See :class:`UncertaintyEstimator`.
        seg_temperature: See :class:`UncertaintyEstimator`.
        cls_temperature: See :class:`UncertaintyEstimator`.

    Raises:
        ValueError: There is no further member.
        TypeError: A member is no built model.

    Reference:
        Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
        ensembles", NeurIPS 2017.
    """

    def __init__(
        self,
        model: InferringModel,
        *,
        checkpoints: Sequence[InferringModel | str] = (),
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
        if not checkpoints:
            raise ValueError(
                'expected at least 2 members, found only the tested checkpoint; name further ones '
                'by checkpoints=[...] (--members FILE ...)'
            )
        for member in checkpoints:
            if not isinstance(member, InferringModel):
                raise TypeError(
                    f'members must be built models, got {member!r}; build_estimator loads files'
                )
        self.members = nn.ModuleList([model, *checkpoints])

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict with one member after the other."""
        for member in self.members:
            yield member.infer(inputs)
