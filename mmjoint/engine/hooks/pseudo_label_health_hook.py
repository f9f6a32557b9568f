import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmjoint.functional.class_counts import class_counts
from mmjoint.functional.pseudo_label import agreement_beyond_chance, dice_beyond_chance
from mmjoint.registry import HOOKS
from mmjoint.structures import stack_seg_maps
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import derive_seed, local_seed

_STREAM = 31
_STATE = 'pseudo_label_health'
_LABELLED = 'labelled'
_MEASURES = ('coverage', 'confidence', 'agreement')

# On a scale where 0 is chance and 1 perfect: a branch is noise if it is below this share of another
# one that is itself above the second number. Classes that nobody knows yet lower both alike.
_NOISE = 0.2
_CLEAR = 0.1
# A class of the labels has vanished below this share of what it has in the labels.
_VANISHED = 0.02
# What was warned of is over when it is above its limit by this factor; no warning of every wobble.
_RECOVERED = 1.5


@HOOKS.register_module()
class PseudoLabelHealthHook(Hook):
    """Follow the pseudo-labels: what each branch names, how surely, and how rightly.

    It needs a model that leaves, per branch, ``coverage``, ``confidence`` and ``agreement`` of the
    classes on the unlabelled batch in ``pseudo_health`` and whose ``make_pseudo_labels(inputs)``
    gives an object with ``branch_labels()``, a label map per branch; the branch that training uses
    comes last. See ``docs/pseudo_labels.md`` for how to read the figures.

    - Every ``interval`` iterations and at the first one: the means of ``pseudo_health`` over the
      iterations since the last time.
    - Every ``held_out_interval`` iterations and at the first one: labelled images of the batch are
      treated as if they had no labels; ``dice`` compares each branch with their labels. This costs
      one making of pseudo-labels. The training cannot tell whether it took place.

    Scalars ``pseudo/<branch>.<measure>.<class>`` go to the backends (scalars.json, TensorBoard) and
    to the message hub; the line of the console shows means over the foreground classes,
    ``pseudo/<branch>.agreement`` and ``pseudo/<branch>.dice``; the log gets a table.

    Two kinds of warning, once each time it happens:

    - a branch gives noise: on held-out labels it is hardly better than a label drawn at random with
      its class frequencies, or on unlabelled images it agrees with the pseudo-label hardly more
      than by chance, and another branch is at least five times further from chance;
    - a class that is in the labels has vanished from the pseudo-labels.

    Args:
        interval: Iterations between two lines of what the branches name.
        held_out_interval: Iterations between two comparisons with held-out labels. A comparison
            costs about half an iteration.
        held_out: What to compare on: the labelled images of the training batch (the networks have
            learnt from these, so it flatters), or samples of ``val_dataloader`` in turn, as many
            as labelled images are in a batch, which its pipeline must bring to the patch's size.
        window: So many comparisons together, and the iterations between them, decide on warnings.
        warm_up: No warning before this iteration.

    Raises:
        ValueError: A number is too small, or ``held_out`` is unknown.
        UserError: The model has no such pseudo-labels, or there are no validation samples.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        interval: int = 10,
        held_out_interval: int = 100,
        held_out: Literal['labelled', 'validation'] = 'labelled',
        window: int = 5,
        warm_up: int = 500,
    ) -> None:
        if min(interval, held_out_interval, window) < 1 or warm_up < 0:
            raise ValueError(
                'expected interval, held_out_interval and window >= 1 and warm_up >= 0, got '
                f'{interval}, {held_out_interval}, {window}, {warm_up}'
            )
        if held_out not in ('labelled', 'validation'):
            raise ValueError(f"held_out must be 'labelled' or 'validation', got {held_out!r}")
        self.interval = interval
        self.held_out_interval = held_out_interval
        self.held_out = held_out
        self.window = window
        self.warm_up = warm_up
        self._names: tuple[str, ...] = ()
        self._state: dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Check the model, and take over what a checkpoint knows."""
        model = _bare(runner)
        lacking = [n for n in ('pseudo_health', 'make_pseudo_labels') if not hasattr(model, n)]
        if lacking:
            raise UserError(
                f'custom_hooks: PseudoLabelHealthHook needs a model with {" and ".join(lacking)}, '
                f'found {type(model).__name__}; remove the hook or change model.type'
            )
        if self.held_out == 'validation' and runner.val_loop is None:
            raise UserError(
                "custom_hooks: PseudoLabelHealthHook(held_out='validation') needs a "
                "val_dataloader, found none; add one or use held_out='labelled'"
            )
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
        self._names = tuple(metainfo.get('classes', ()))
        fresh = {'sums': None, 'iters': 0, 'entry': None, 'entry_iters': 0}
        fresh |= {'entries': [], 'warned': []}
        self._state = runner.message_hub.get_info(_STATE, fresh)
        # By reference: what changes in it later is in the next checkpoint.
        runner.message_hub.update_info(_STATE, self._state)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Collect, and from time to time log, compare and warn."""
        model, state, done = _bare(runner), self._state, runner.iter + 1
        branches = list(model.pseudo_health)
        # Sums over voxels, of which means over iterations are made: (branches, measures, C).
        health = torch.stack([_sums(values) for values in model.pseudo_health.values()])
        for sums, count in (('sums', 'iters'), ('entry', 'entry_iters')):
            before = state[sums]
            state[sums] = health if before is None else before.to(health) + health
            state[count] += 1
        if done == 1 or done % self.interval == 0:
            means = _mean_over_ranks(state['sums'] / state['iters'])
            state.update(sums=None, iters=0)
            self._log_votes(runner, branches, means)
        if done == 1 or done % self.held_out_interval == 0:
            counts = self._compare(runner, model, data_batch, done)
            seen = _mean_over_ranks(state['entry'] / state['entry_iters'])
            state.update(entry=None, entry_iters=0)
            kept = [*state['entries'], {'counts': counts, 'votes': seen}]
            state['entries'] = kept[-self.window :]
            self._log_dice(runner, branches, counts, seen)
            if done >= self.warm_up and len(kept) >= self.window:
                self._warn(runner, branches)

    # Comparing -------------------------------------------------------------------------------

    def _compare(self, runner: Any, model: nn.Module, data_batch: Any, done: int) -> Tensor:
        """Pixels of each class in both, in the branch, in the labels: ``(branches, 3, C)``."""
        seed = derive_seed(runner.seed, _STREAM, runner.rank, done)
        # The context of training, for its precision.
        with _without_trace(model, seed), runner.optim_wrapper.optim_context(runner.model):
            inputs, samples = self._held_out_batch(runner, model, data_batch, done)
            inputs = model.arrange(inputs)
            labels = model.make_pseudo_labels(inputs).branch_labels()
        target = stack_seg_maps(samples, shape=inputs.shape[2:], device=inputs.device)
        num_classes = len(next(iter(model.pseudo_health.values()))['coverage'])
        counts = torch.stack(
            [
                # Ignored voxels count nowhere, also not in what the branch names.
                class_counts(label[target != 255], target[target != 255], num_classes)
                for label in labels.values()
            ]
        )
        all_reduce(counts)
        return counts.cpu()

    def _held_out_batch(
        self, runner: Any, model: nn.Module, data_batch: Any, done: int
    ) -> tuple[Tensor, list]:
        if self.held_out == 'labelled':
            # A copy: whoever preprocesses may write into the samples.
            batch = model.data_preprocessor(copy.deepcopy(data_batch), True)
            return batch['inputs'][_LABELLED], batch['data_samples'][_LABELLED]
        loader = runner.val_loop.dataloader
        size = sum(image is not None for image in data_batch['inputs'][_LABELLED])
        rank, world_size = get_dist_info()
        start = (done // self.held_out_interval * world_size + rank) * size
        visits = [(start + number) % len(loader.dataset) for number in range(size)]
        batch = loader.collate_fn([loader.dataset[number] for number in visits])
        batch = model.data_preprocessor(batch, False)
        return batch['inputs'], batch['data_samples']

    # Logging ---------------------------------------------------------------------------------

    def _name(self, number: int) -> str:
        return self._names[number] if number < len(self._names) else str(number)

    def _write(self, runner: Any, values: Mapping[str, float], means: Mapping[str, float]) -> None:
        """Write classes to the backends and means to the line of the log; NaN is left out."""
        values = {f'pseudo/{key}': value for key, value in values.items() if value == value}
        for key, value in values.items():
            # Not below train/, where the logger would print every one.
            runner.message_hub.update_scalar(key, value)
        done = runner.iter + 1
        # With 'iter' readers of the file know the line for one of training.
        runner.visualizer.add_scalars({**values, 'iter': done}, step=done)
        for key, value in means.items():
            if value == value:
                runner.message_hub.update_scalar(f'train/pseudo/{key}', value)

    def _log_votes(self, runner: Any, branches: list[str], means: Tensor) -> None:
        values, overall = {}, {}
        for branch, (coverage, *others) in zip(branches, means, strict=True):
            rows = (coverage, *(other / coverage for other in others))
            for measure, row in zip(_MEASURES, rows, strict=True):
                for number, value in enumerate(row.tolist()):
                    values[f'{branch}.{measure}.{self._name(number)}'] = value
            overall[f'{branch}.agreement'] = rows[2][1:].nanmean().item()
        overall.pop(f'{branches[-1]}.agreement')  # with itself
        self._write(runner, values, overall)

    def _log_dice(self, runner: Any, branches: list[str], counts: Tensor, seen: Tensor) -> None:
        overlap, pred, target = counts.double().unbind(1)
        dice = 2 * overlap / (pred + target)
        shares = target[0] / target[0].sum()
        values = {
            f'labels.coverage.{self._name(n)}': value for n, value in enumerate(shares.tolist())
        }
        overall = {}
        for branch, row in zip(branches, dice, strict=True):
            for number, value in enumerate(row.tolist()):
                values[f'{branch}.dice.{self._name(number)}'] = value
            overall[f'{branch}.dice'] = row[1:][target[0, 1:] > 0].mean().item()
        self._write(runner, values, overall)
        rows = [(f'Dice of {name}', row) for name, row in zip(branches, dice, strict=True)]
        rows += [('share in labels', shares)]
        rows += [(f'share in {b}', row[0]) for b, row in zip(branches, seen, strict=True)]
        names = [self._name(number) for number in range(dice.shape[1])]
        runner.logger.info(
            f'Pseudo-labels, Dice on held-out labels and shares:\n{_table(names, rows)}'
        )

    # Warning ---------------------------------------------------------------------------------

    def _warn(self, runner: Any, branches: list[str]) -> None:
        entries = self._state['entries']
        counts = torch.stack([entry['counts'] for entry in entries]).sum(0)
        votes = torch.stack([entry['votes'] for entry in entries]).mean(0)
        coverage, _, same = votes.unbind(1)
        skill = dict(zip(branches, dice_beyond_chance(counts).tolist(), strict=True))
        kappa = agreement_beyond_chance(coverage, same, coverage[-1:])
        kappa = dict(zip(branches[:-1], kappa.tolist(), strict=False))
        since = f'over the last {len(entries)} comparisons'
        for branch in branches:
            for kind, scores, what in (
                ('dice', skill, 'gives noise: {} its Dice on held-out labels'),
                ('agreement', kappa, 'gives noise on unlabelled images: {} its agreement'),
            ):
                text = None
                # NaN passes neither.
                clear = {
                    name: value
                    for name, value in scores.items()
                    if name != branch and value > _CLEAR and skill[name] > _CLEAR
                }
                if clear and branch in scores:
                    best = max(clear, key=clear.get)
                    if scores[branch] < self._limit(f'{kind}.{branch}', _NOISE * clear[best]):
                        text = (
                            f'pseudo-labels: {branch} {what.format(since)} was '
                            f'{scores[branch]:.2f} of the way from chance to 1, that of {best} '
                            f'{clear[best]:.2f}; see docs/pseudo_labels.md'
                        )
                self._event(runner, f'{kind}.{branch}', text)
        in_labels = counts[0, 2] / counts[0, 2].sum()
        for number, (expected, found) in enumerate(zip(in_labels, coverage[-1], strict=True)):
            key = f'vanished.{number}'
            text = None
            if found < self._limit(key, _VANISHED) * expected:
                text = (
                    f'pseudo-labels: the class {self._name(number)} has vanished: {since} '
                    f'{found:.2g} of the voxels got it, {expected:.2g} of the labels have it; see '
                    'docs/pseudo_labels.md'
                )
            self._event(runner, key, text)

    def _limit(self, key: str, limit: float) -> float:
        """More than the limit while it was passed."""
        return _RECOVERED * limit if key in self._state['warned'] else limit

    def _event(self, runner: Any, key: str, text: str | None) -> None:
        """Warn of what was not there before; forget what is over."""
        warned = self._state['warned']
        if text is None:
            self._state['warned'] = [other for other in warned if other != key]
        elif key not in warned:
            warned.append(key)
            runner.logger.warning(text)


def _bare(runner: Any) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _sums(health: Mapping[str, Tensor]) -> Tensor:
    """Coverage, and confidence and agreement times it: what may be averaged."""
    coverage, *others = (health[name].double() for name in _MEASURES)
    return torch.stack([coverage, *((coverage * other).nan_to_num(0.0) for other in others)])


def _mean_over_ranks(values: Tensor) -> Tensor:
    values = values.clone()
    all_reduce(values, 'mean')
    return values.cpu()


def _table(names: list[str], rows: list[tuple[str, Tensor]]) -> str:
    width = [max(len(name), 6) for name in names]
    first = max(len(name) for name, _ in rows)
    lines = [[' ' * first, *(name.rjust(w) for name, w in zip(names, width, strict=True))]]
    for name, row in rows:
        cells = ('-' if value != value else _short(value) for value in row.tolist())
        lines.append([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, width, strict=True))])
    return '\n'.join('  '.join(line) for line in lines)


def _short(value: float) -> str:
    """Six characters at most: 0.1234, and 1e-05 where that would be 0."""
    return f'{value:.4f}' if value >= 5e-4 or value == 0 else f'{value:.0e}'


@contextmanager
def _without_trace(model: nn.Module, seed: int) -> Iterator[None]:
    """Let a block use the model, and draw by ``seed``; afterwards all is as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    source = getattr(model, 'random_source', None)
    device = next(model.parameters()).device
    devices = [device] if device.type == 'cuda' else []
    try:
        if source is not None:
            # It may have a generator of its own.
            model.random_source = copy.deepcopy(source)
        with torch.random.fork_rng(devices), local_seed(seed), torch.no_grad():
            for each in devices:
                with torch.cuda.device(each):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        if source is not None:
            model.random_source = source
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for module, training in modes:
            module.training = training
