import os.path as osp
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop

from mmjoint.registry import HOOKS
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_text

from ..checkpoint import TRAINING_ENDED

# A temporary file of atomic_path, left by a process that was killed while it wrote.
_LEFT_OVER = re.compile(r'\.(epoch_\d+|iter_\d+|best_.*|last_checkpoint)\.[a-z0-9_]{8}(\.pth)?')


@HOOKS.register_module()
class JointCheckpointHook(CheckpointHook):
    """Save checkpoints so that at every moment a whole one is there.

    Unlike mmengine's hook, this one writes the new file before it removes the old one, writes
    ``last_checkpoint`` whole or not at all, knows in which direction the metrics of this project
    are better, and does not add checkpoints out of turn when a best one was found. The checkpoint
    of the end, also of an early one, is written again when all is done, so that it tells that
    (``training_is_finished``).

    Args:
        interval: Save every so many epochs or iterations; -1 saves the last one only.
        by_epoch: Count epochs; ``False`` counts iterations, in training by epochs too.
        max_keep_ckpts: Keep the newest so many; -1 keeps all.
        save_last: Save at the end of training, whatever the interval.
        save_begin: No checkpoint before this epoch or iteration.
        save_best: Result key, or keys, whose best checkpoints are kept besides.
        rule: ``'greater'`` or ``'less'``, for each of ``save_best``; ``None`` goes by the key.
        save_optimizer: Store the optimizer; needed to resume.
        save_param_scheduler: Store the schedulers; needed to resume.
    """

    _default_greater_keys = [
        *CheckpointHook._default_greater_keys,
        'dice',
        'iou',
        'aupr',
        'f1',
        'kappa',
        'sensitivity',
        'specificity',
        'score',
    ]
    _default_less_keys = [
        *CheckpointHook._default_less_keys,
        'assd',
        'asd',
        'hd95',
        'ece',
        'ace',
        'brier',
        'nll',
        'aurc',
        'ause',
    ]

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_begin: int = 0,
        save_best: str | list[str] | None = None,
        rule: str | list[str] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
    ) -> None:
        if interval == 0 or interval < -1 or max_keep_ckpts == 0 or max_keep_ckpts < -1:
            raise ValueError(
                f'interval and max_keep_ckpts must be -1 or at least 1, got {interval} and '
                f'{max_keep_ckpts}'
            )
        # The folder, file backend and publishing options of the base class stay unused.
        super().__init__(
            interval=interval,
            by_epoch=by_epoch,
            max_keep_ckpts=max_keep_ckpts,
            save_last=save_last,
            save_begin=save_begin,
            save_best=save_best,
            rule=rule,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
        )
        self._saved_iter: int | None = None

    def before_train(self, runner: Any) -> None:
        """Take over what a resumed checkpoint knows, and clear what killed processes left."""
        self.out_dir = runner.work_dir
        resumed = runner.message_hub.get_info('last_ckpt')
        if resumed is not None and Path(self.out_dir, resumed).is_file():
            self._saved_iter = runner.iter  # to be saved again if a validation made up for is best
        kept = list(runner.message_hub.get_info('keep_ckpt_ids', []))
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            self._remove(kept[: -self.max_keep_ckpts])
        if is_main_process():
            for path in Path(self.out_dir).glob('.*'):
                if _LEFT_OVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def after_train(self, runner: Any) -> None:
        """Save the end of training, with the note that nothing is left to do."""
        hub, loop = runner.message_hub, runner.train_loop
        planned = loop.max_iters if isinstance(loop, IterBasedTrainLoop) else loop.max_epochs
        ended = {'iter': runner.iter, 'planned': planned}
        done = runner.epoch if self.by_epoch else runner.iter
        is_saved = hub.get_info('last_ckpt') == self.filename_tmpl.format(done)
        if hub.get_info(TRAINING_ENDED) == ended or not (self.save_last or is_saved):
            return
        hub.update_info(TRAINING_ENDED, ended)
        self._save_checkpoint_with_step(runner, done, {'epoch': runner.epoch, 'iter': runner.iter})

    def _remove(self, steps: list[int]) -> None:
        if is_main_process():
            for step in steps:
                Path(self.out_dir, self.filename_tmpl.format(step)).unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        dropped = []
        if self.max_keep_ckpts > 0:
            kept = list(self.keep_ckpt_ids)
            if step not in kept[-1:]:
                kept.append(step)
            # Stored before the oldest one is removed: if the process dies in between, the resumed
            # one removes it (before_train cuts the list).
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            dropped = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
        self._saved_iter = meta['iter']
        # Where a run was resumed for the validation alone no iteration has noted this.
        for key in ('epoch', 'iter'):
            runner.message_hub.update_info(key, meta[key])
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = osp.join(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', filename)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
        )
        if is_main_process():
            atomic_write_text(osp.join(runner.work_dir, 'last_checkpoint'), self.last_ckpt)
        self._remove(dropped)

    def _save_best_checkpoint(self, runner: Any, metrics: Mapping[str, float]) -> None:
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        done = runner.epoch if self.by_epoch else runner.iter
        updated = False
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            if key not in metrics:
                raise UserError(
                    f'default_hooks.checkpoint.save_best: {key} is not among the results '
                    f'({", ".join(metrics)})'
                )
            updated |= self._save_if_better(runner, key, rule, metrics[key], done)
        # The checkpoint of this very step was written before the validation; it must know of the
        # new best one, else a resumed run would not remove that. An older checkpoint need not: a
        # run resumed from there finds the same best one again.
        if updated and self._saved_iter == runner.iter:
            self._save_checkpoint_with_step(
                runner, done, {'epoch': runner.epoch, 'iter': runner.iter}
            )

    def _save_if_better(
        self, runner: Any, key: str, rule: str, score: float | None, done: int
    ) -> bool:
        suffix = '' if len(self.key_indicators) == 1 else f'_{key}'
        hub = runner.message_hub
        best = hub.get_info(f'best_score{suffix}', self.init_value_map[rule])
        if score is None or not self.is_better_than[key](score, best):
            return False
        before = hub.get_info(f'best_ckpt{suffix}')
        name = f'best_{key}_{self.filename_tmpl.format(done)}'.replace('/', '_')
        hub.update_info(f'best_score{suffix}', float(score))
        # A bare name, so that a work folder can be moved.
        hub.update_info(f'best_ckpt{suffix}', name)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=False,
            save_param_scheduler=False,
            meta={'epoch': runner.epoch, 'iter': runner.iter},
            by_epoch=False,
        )
        if before and before != name and is_main_process():
            Path(self.out_dir, before).unlink(missing_ok=True)
        runner.logger.info(f'the best checkpoint so far ({key} {score:.4f}) is {name}')
        return True
