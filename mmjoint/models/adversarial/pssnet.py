"""PSSNet: adversarial training on data sets of which each labels some tasks only."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from mmjoint.functional.adversarial import critic_losses, fooling_losses
from mmjoint.functional.multilabel import Channels
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_task_maps
from mmjoint.structures.typing import ConfigType
from mmjoint.utils.errors import UserError

from ..losses import full_precision
from .adversarial_model import AdversarialModel, bare
from .branches import branch_logits
from .multi_task_model import Weights, check_weights
from .outputs import TaskLogits
from .task_critics import TaskCritics
from .task_predictor import TaskPredictor, enlarge

Maps = dict[str, dict[str, Tensor]]
"""By task, probabilities ``(B, C_t, H, W)`` by branch."""

CRITICS, AUX_CRITICS = 'critics', 'aux_critics'


class Term(NamedTuple):
    """Where a term of the losses comes from.

    Attributes:
        kind: ``'sup'``, ``'pseudo'``, ``'adv'`` or ``'critic'``.
        branch: Whose images.
        task: Which output of them.
        aux: Whether it is the auxiliary output.
    """

    kind: str
    branch: str
    task: str
    aux: bool


@MODELS.register_module()
class PSSNet(TaskPredictor, AdversarialModel):
    r"""Several tasks learnt from data sets that label some of them, with critics for the others.

    .. code:: text

        M_t(x), A_t(x)   logits of task t, main and auxiliary, at the size of x;  s = sigmoid
        K_t, K'_t        critics;  B(z, c) = mean cross-entropy of logits z against c

        L_sup = sum over (b, t) in weights:
                    w (loss(M_t(x_b), y) + aux_weight loss(A_t(x_b), y))     '<t>.loss_sup'
        L_pse = likewise over pseudo_weights, where y are pseudo labels      '<t>.loss_pseudo'
        L_adv = sum over t and those b in weights that lack t:
                    lambda B(K_t(s M_t(x_b)), 1)
                    + lambda' B(K'_t(s A_t(x_b)), 1)                         '<t>.loss_adv'
        generator: L_sup + L_pse + L_adv

        K_t, on s M_t(x_b) from before the generator's step (K'_t on s A_t(x_b) likewise):
            0.5 mean over those b that have t of B(K_t, 1)
            + 0.5 mean over those b that lack t of B(K_t, 0)                 '<t>.loss_critic'

    So predictions of a task where it is not labelled are made to look like those where it is.

    A branch is a batch of images of one origin; its size does not matter. Branches without any
    weight are not used. Two switches: ``critic=None`` trains without critics,
    ``pseudo_weights=None`` without pseudo labels.

    Args:
        tasks: Channels of each task by its name, as in the data sets' metainfo.
        generator: Config of a ``MultiTaskGenerator`` without ``tasks``, or a built one.
        weights: Weight of each task by the branch whose images are labelled for it. A branch
            without a task is unlabelled: critics alone use it.
        pseudo_weights: Likewise by the branch whose images have pseudo labels; None for none.
        loss: Config of a loss, called as ``loss(logits, labels, channels)``.
        aux_weight: Weight of the auxiliary outputs in the losses with labels; 0 computes none, and
            has no auxiliary critics.
        critic: Config of a critic, which is given its ``in_channels``; None for none.
        adversarial_weight: lambda, of all tasks or by task.
        aux_adversarial_weight: lambda', likewise.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.

    Raises:
        UserError: A table names an unknown task, leaves one without labels, or has a negative
            weight; there is nothing for critics to tell apart; or, in training, a branch or a
            label map is missing.

    Reference:
        Liu et al., "Many birds, one stone: Medical image segmentation with multiple partially
        labeled datasets", Pattern Recognition 155, 2024, and its code, in which every image goes
        through the generator alone.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Channels],
        generator: ConfigType | nn.Module,
        weights: Weights,
        pseudo_weights: Weights | None = None,
        loss: ConfigType | None = None,
        aux_weight: float = 0.4,
        critic: ConfigType | None = None,
        adversarial_weight: float | Mapping[str, float] = 0.1,
        aux_adversarial_weight: float | Mapping[str, float] = 0.02,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(
            generator=generator
            if isinstance(generator, nn.Module)
            else dict(generator, tasks=tasks),
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.tasks = {name: dict(channels) for name, channels in tasks.items()}
        check_weights(weights, self.tasks)
        self.weights = {branch: dict(row) for branch, row in weights.items()}
        self.pseudo_weights = {b: dict(row) for b, row in (pseudo_weights or {}).items()}
        if both := sorted(self.weights.keys() & self.pseudo_weights.keys()):
            raise UserError(
                f'model.pseudo_weights: expected other branches than in model.weights, found {both}'
            )
        # Pseudo labels need not be of all tasks, so they are checked beside the labels.
        check_weights({**self.weights, **self.pseudo_weights}, self.tasks)
        if aux_weight < 0:
            raise UserError(f'model.aux_weight: expected a weight >= 0, found {aux_weight}')
        self.aux_weight = aux_weight
        self.loss_task = MODELS.build(loss or dict(type='TaskDiceLoss'))
        self.adversarial_weights = {
            CRITICS: self._by_task('adversarial_weight', adversarial_weight),
            AUX_CRITICS: self._by_task('aux_adversarial_weight', aux_adversarial_weight),
        }
        self.judged: tuple[str, ...] = ()
        """Tasks that have critics: those that some branch of ``weights`` lacks."""
        if critic is not None:
            self._add_critics(critic)
        self.wanted = {
            branch: tuple(task for task in self.tasks if task in row or task in self.judged)
            for branch, row in self.weights.items()
        }
        self.wanted |= {branch: tuple(row) for branch, row in self.pseudo_weights.items()}
        self.wanted = {branch: names for branch, names in self.wanted.items() if names}
        """Tasks that are computed, by branch."""

    def _by_task(self, name: str, value: float | Mapping[str, float]) -> dict[str, float]:
        given = dict(value) if isinstance(value, Mapping) else dict.fromkeys(self.tasks, value)
        if given.keys() != self.tasks.keys() or min(given.values()) < 0:
            raise UserError(
                f'model.{name}: expected a weight >= 0, or one for each of {list(self.tasks)}, '
                f'found {value}'
            )
        return given

    def _add_critics(self, critic: ConfigType) -> None:
        rows = self.weights.values()
        self.judged = tuple(task for task in self.tasks if any(task not in row for row in rows))
        if not self.judged:
            raise UserError(
                f'model.critic: expected a branch that lacks a task, found all of '
                f'{list(self.tasks)} in each of {list(self.weights)}; set critic=None'
            )
        channels = {task: len(self.tasks[task]) for task in self.judged}
        self.critic_names = (CRITICS, AUX_CRITICS) if self.aux_weight else (CRITICS,)
        for name in self.critic_names:
            setattr(self, name, TaskCritics(critic, channels))

    # Training -------------------------------------------------------------------------------

    def generator_losses(
        self, inputs: dict[str, Tensor], data_samples: dict[str, SampleList]
    ) -> tuple[dict[str, Tensor], dict[str, Maps]]:
        """Losses of the generator by task and kind; kept are the probabilities, by critics."""
        found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        if missing := sorted(set(self.wanted) - set(found)):
            raise UserError(
                f'train_dataloader: expected the branches {list(self.wanted)} of the weights, '
                f'found {found} without {missing[0]!r}; use MultiBranch and '
                'MultiBranchDataPreprocessor'
            )
        logits = branch_logits(self.generator, inputs, self.wanted, auxiliary=self.aux_weight > 0)
        logits = {
            branch: _enlarged(value, inputs[branch].shape[2:]) for branch, value in logits.items()
        }
        terms = self.label_terms('sup', self.weights, logits, data_samples)
        terms |= self.label_terms('pseudo', self.pseudo_weights, logits, data_samples)
        probs = {name: self._probs(logits, name) for name in self.critic_names}
        for name in self.critic_names:
            terms |= self.adversarial_terms(name, probs[name])
        kept = {name: _detached(maps) for name, maps in probs.items()}
        return _by_task_and_kind(terms), kept

    def label_terms(
        self,
        kind: str,
        weights: Weights,
        logits: Mapping[str, TaskLogits],
        data_samples: Mapping[str, SampleList],
    ) -> dict[Term, Tensor]:
        """L_sup or L_pse.

        Args:
            kind: ``'sup'`` or ``'pseudo'``.
            weights: The table of the branches.
            logits: By branch, at the size of the images.
            data_samples: By branch.
        """
        terms = {}
        for branch, row in weights.items():
            for task, weight in row.items():
                main = logits[branch].main[task]
                labels = stack_task_maps(data_samples[branch], task, device=main.device)
                channels = self.tasks[task]
                loss = weight * self.loss_task(main, labels, channels)
                terms[Term(kind, branch, task, False)] = loss
                if logits[branch].aux is not None:
                    loss = self.loss_task(logits[branch].aux[task], labels, channels)
                    terms[Term(kind, branch, task, True)] = weight * self.aux_weight * loss
        return terms

    def adversarial_terms(self, name: str, probs: Maps) -> dict[Term, Tensor]:
        """The part of L_adv that comes from one kind of critics.

        Args:
            name: ``'critics'`` or ``'aux_critics'``.
            probs: Of all branches of ``weights``.
        """
        others = {
            task: {b: maps for b, maps in by_branch.items() if task not in self.weights[b]}
            for task, by_branch in probs.items()
        }
        terms = {}
        for task, scores in bare(getattr(self, name))(others).items():
            losses = fooling_losses(scores, weight=self.adversarial_weights[name][task])
            for branch, loss in losses.items():
                terms[Term('adv', branch, task, name == AUX_CRITICS)] = loss
        return terms

    def critic_losses(self, name: str, kept: dict[str, Maps]) -> dict[str, Tensor]:
        """Losses of the critics of one kind, by task."""
        return _by_task_and_kind(self.critic_terms(name, kept[name]))

    def critic_terms(self, name: str, probs: Maps) -> dict[Term, Tensor]:
        """What critics of one kind pay, by branch and task.

        Args:
            name: ``'critics'`` or ``'aux_critics'``.
            probs: Detached, of all branches of ``weights``.
        """
        terms = {}
        for task, scores in getattr(self, name)(probs).items():
            real = {b: value for b, value in scores.items() if task in self.weights[b]}
            fake = {b: value for b, value in scores.items() if task not in self.weights[b]}
            for branch, loss in critic_losses(real, fake).items():
                terms[Term('critic', branch, task, name == AUX_CRITICS)] = loss
        return terms

    def _probs(self, logits: Mapping[str, TaskLogits], name: str) -> Maps:
        outputs = {
            b: logits[b].aux if name == AUX_CRITICS else logits[b].main for b in self.weights
        }
        return {
            task: {branch: full_precision(maps[task]).sigmoid() for branch, maps in outputs.items()}
            for task in self.judged
        }


def _enlarged(logits: TaskLogits, size: tuple[int, ...]) -> TaskLogits:
    return TaskLogits(
        *(part and {task: enlarge(value, size) for task, value in part.items()} for part in logits)
    )


def _detached(maps: Maps) -> Maps:
    return {
        task: {branch: value.detach() for branch, value in by_branch.items()}
        for task, by_branch in maps.items()
    }


def _by_task_and_kind(terms: Mapping[Term, Tensor]) -> dict[str, Tensor]:
    """Sums that are short enough to be logged; a task's critics stay apart."""
    sums: dict[str, Tensor] = {}
    for term, value in terms.items():
        kind = 'aux_critic' if term.kind == 'critic' and term.aux else term.kind
        key = f'{term.task}.loss_{kind}'
        sums[key] = sums[key] + value if key in sums else value
    return sums
