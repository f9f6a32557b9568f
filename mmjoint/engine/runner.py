"""mmengine's runner with exact resuming, safe checkpoints and training on several CPU processes."""

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict, _ParamScheduler
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmjoint import __version__
from mmjoint.registry import PARAM_SCHEDULERS, RUNNERS
from mmjoint.utils.dist import share_from_main
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_text

from .checkpoint import (
    find_resumable,
    load_weights,
    read_checkpoint,
    restore_histories,
    write_checkpoint,
)
from .console import shorten_console
from .loops import resumable_loop_cfg


class _TextOnceConfig(Config):
    """A config that formats its text only when its content has changed; that may take seconds."""

    @classmethod
    def of(cls, cfg: Config) -> '_TextOnceConfig':
        """Take over the content of another config."""
        own = cls.__new__(cls)
        own.__dict__.update(cfg.__dict__)
        return own

    @property
    def pretty_text(self) -> str:
        """The config as formatted Python."""
        content = repr(self._cfg_dict)
        formatted = self.__dict__.get('_formatted')
        if formatted is None or formatted[0] != content:
            formatted = self.__dict__['_formatted'] = (content, super().pretty_text)
        return formatted[1]


@RUNNERS.register_module()
class JointRunner(Runner):
    """Train, validate and test a model that a config describes.

    What differs from :class:`mmengine.runner.Runner`:

    * checkpoints hold tensors and plain values only, are written whole or not at all, and are read
      with ``weights_only=True``;
    * a resumed run gives the same bits as one that was never interrupted, also from within an
      epoch; a checkpoint that does not fit the model or the data is refused with its reason;
    * without CUDA devices several processes train over gloo, with the buffers of rank 0;
    * ``randomness.deterministic`` warns instead of failing where torch has no such algorithm.
    """

    @property
    def cfg(self) -> Config:
        """The whole config. Its text stands in logs and in all checkpoints."""
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        self._cfg = _TextOnceConfig.of(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the process, and a time stamp that no other run has.

        The stamp, of whole seconds, names the log folder and mmengine's global instances (message
        hub, logger): two runs started within a second would share them.
        """
        super().setup_env(env_cfg)
        stamp, count = self._timestamp, 1
        while self._is_taken(stamp):
            count += 1
            stamp = f'{self._timestamp}_{count}'
        self._timestamp = share_from_main(stamp)

    def _is_taken(self, stamp: str) -> bool:
        names = MessageHub._instance_dict
        return Path(self.work_dir, stamp).exists() or any(name.endswith(stamp) for name in names)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; its console shows no dumps and no endless lines."""
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        return logger

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed the generators; see :class:`mmjoint.engine.hooks.IterSeedHook` for training."""
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            # Some backward passes on CUDA (bilinear resizing) have no deterministic algorithm.
            torch.use_deterministic_algorithms(True, warn_only=True)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, with or without CUDA devices."""
        if self.distributed and not is_model_wrapper(model):
            # Unlike by Runner's own default rank 0's buffers are broadcast, so running statistics
            # do not drift apart and a checkpoint, which holds rank 0's, resumes all ranks exactly.
            model_wrapper_cfg = {
                'type': 'MMDistributedDataParallel',
                'broadcast_buffers': True,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **(model_wrapper_cfg or {}),
            }
            if not torch.cuda.is_available():
                # DDP refuses device ids on the CPU; Runner would pass [LOCAL_RANK].
                model_wrapper_cfg['device_ids'] = None
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; mmengine's two loops are replaced by resumable ones."""
        if isinstance(loop, Mapping):
            loop = resumable_loop_cfg(loop)
        return super().build_train_loop(loop)

    def build_training(self) -> None:
        """Build the loops and the optimizers, which otherwise :meth:`train` does."""
        self._train_loop = self.build_train_loop(self._train_loop)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)

    def _build_param_scheduler(self, scheduler: Any, optim_wrapper: Any) -> list[_ParamScheduler]:
        """Build schedulers, telling those that need it how long an epoch is."""
        schedulers = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
        schedulers = [self._with_epoch_lengths(item) for item in schedulers]
        return super()._build_param_scheduler(schedulers, optim_wrapper)

    def _with_epoch_lengths(self, scheduler: Any) -> Any:
        if not isinstance(scheduler, Mapping) or not isinstance(scheduler.get('type'), str):
            return scheduler
        if not getattr(PARAM_SCHEDULERS.get(scheduler['type']), 'needs_epoch_lengths', False):
            return scheduler
        loader = self.train_dataloader
        per_iteration = loader.batch_sampler.batch_size * self.world_size
        lengths = {
            'by_epoch': False,
            'max_epochs': self.max_epochs,
            'iters_per_epoch': len(loader),
            'steps_per_epoch': len(loader.dataset) / per_iteration,
        }
        return {**lengths, **copy.deepcopy(dict(scheduler))}

    @contextmanager
    def _bare_model(self) -> Iterator[nn.Module]:
        """The model without wrappers, also without those that its parts may have of their own.

        With them its parameters would have other names than in a single process.
        """
        model = self.model.module if is_model_wrapper(self.model) else self.model
        wrapped = {name: part for name, part in model.named_children() if is_model_wrapper(part)}
        model._modules.update({name: part.module for name, part in wrapped.items()})
        try:
            yield model
        finally:
            model._modules.update(wrapped)

    @master_only
    def dump_config(self) -> None:
        """Write the whole config into the work folder."""
        name = Path(self.cfg.filename).stem if self.cfg.filename else self.timestamp
        atomic_write_text(Path(self.work_dir) / f'{name}.py', self.cfg.pretty_text)

    # Saving ---------------------------------------------------------------------------------

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write a checkpoint of tensors and plain values, whole or not at all.

        Args:
            out_dir: Local folder.
            filename: Name in it.
            file_client_args: Must be ``None``: checkpoints are local files.
            save_optimizer: Whether to store the optimizer's state.
            save_param_scheduler: Whether to store the schedulers' states.
            meta: Further plain values to store under ``meta``.
            by_epoch: Whether this is the end of an epoch, rather than of an iteration.
            backend_args: Must be ``None``.
        """
        if file_client_args or backend_args:
            raise ValueError('checkpoints are written to local files, leave file backends out')
        meta = dict(meta or {})
        meta.setdefault('epoch', self.epoch + 1 if by_epoch else self.epoch)
        meta.setdefault('iter', self.iter if by_epoch else self.iter + 1)
        loader = self.train_dataloader
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            model_name=self.model_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
            mmjoint_version=__version__,
            world_size=self.world_size,
            batch_size=loader.batch_sampler.batch_size,
            iters_per_epoch=len(loader),
            dataset_meta=getattr(loader.dataset, 'metainfo', None),
        )
        with self._bare_model() as model:
            state_dict = model.state_dict()
            parameters = dict(model.named_parameters())
        checkpoint: dict[str, Any] = {
            'meta': meta,
            'state_dict': state_dict,
            'message_hub': self.message_hub.state_dict(),
        }
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = _map_schedulers(self.param_schedulers, _state_of)
        if self._accumulates_at(meta['iter']):
            # Between two updates the gradients, too, are state of the training.
            checkpoint['gradients'] = {
                name: parameter.grad
                for name, parameter in parameters.items()
                if parameter.grad is not None
            }
            if self.world_size > 1:
                self.logger.warning(
                    f'{filename} stands between two updates of accumulated gradients and holds '
                    "rank 0's only: save at multiples of accumulative_counts to resume exactly"
                )
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        write_checkpoint(checkpoint, f'{out_dir}/{filename}')

    def _accumulates_at(self, iteration: int) -> bool:
        """Whether an optimizer wrapper is between two updates after so many iterations."""
        wrapper = self.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        return any(iteration % item._accumulative_counts for item in wrappers)

    # Loading --------------------------------------------------------------------------------

    def load_or_resume(self) -> None:
        """Load ``load_from``, or go on from it or from the newest whole checkpoint."""
        if self._has_loaded:
            return
        if self._resume:
            path = self._load_from
            if path is None:
                # One process looks, so that all take the same checkpoint.
                found = find_resumable(self.work_dir) if self.rank == 0 else None
                path, warnings = share_from_main(found)
                for warning in warnings:
                    self.logger.warning(warning)
            if path is None:
                self.logger.info(f'nothing to resume in {self.work_dir}: training starts anew')
            else:
                self.resume(str(path))
        elif self._load_from is not None:
            self.load_checkpoint(self._load_from)
        self._has_loaded = True

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool = False,
        revise_keys: list = (),
    ) -> dict[str, Any]:
        """Load weights.

        Args:
            filename: A local file.
            map_location: Ignored: tensors are read to the CPU and copied from there.
            strict: Refuse any difference in names and shapes; otherwise differences are logged,
                and only a checkpoint of which nothing fits is refused.
            revise_keys: Must be empty: names are changed by converters, not while loading.

        Returns:
            The checkpoint.
        """
        if revise_keys:
            raise ValueError('revise_keys is not supported; convert the checkpoint instead')
        checkpoint = read_checkpoint(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        with self._bare_model() as model:
            differences = load_weights(model, checkpoint, filename, strict=strict)
        for line in differences:
            self.logger.warning(f'{filename}: {line}')
        self.logger.info(f'loaded the weights of {filename}')
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        """Go on with the training that a checkpoint was taken from.

        Args:
            filename: A local file.
            resume_optimizer: Whether to restore the optimizer.
            resume_param_scheduler: Whether to restore the schedulers.
            map_location: Ignored, see :meth:`load_checkpoint`.

        Raises:
            UserError: If the checkpoint does not hold a training's state, belongs to another
                model, or stands inside an epoch of other batches.
        """
        checkpoint = self.load_checkpoint(filename, strict=True)
        needed = ['meta', 'message_hub']
        needed += ['optimizer'] * resume_optimizer
        needed += ['param_schedulers'] * (resume_param_scheduler and bool(self.param_schedulers))
        lacking = [key for key in needed if key not in checkpoint]
        if lacking:
            raise UserError(
                f'{filename}: holds weights, but not the state of a training ({", ".join(lacking)} '
                'missing), so it cannot be resumed; use it by --cfg-options load_from=FILE'
            )
        meta = checkpoint['meta']
        if meta['seed'] != self.seed:
            raise UserError(
                f'{filename}: was trained with seed {meta["seed"]}, this run has seed {self.seed}; '
                f'resume with --seed {meta["seed"]}'
            )
        epoch, iteration = meta['epoch'], meta['iter']
        self.train_loop.resume_at(epoch, iteration, self._batches_done(meta, filename))

        hub = checkpoint['message_hub']
        self.message_hub.load_state_dict(
            {**hub, 'log_scalars': restore_histories(hub['log_scalars'])}
        )
        if resume_optimizer:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            _load_schedulers(self.param_schedulers, checkpoint['param_schedulers'], filename)
        with self._bare_model() as model:
            parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            stored = checkpoint.get('gradients', {}).get(name)
            parameter.grad = None if stored is None else stored.to(parameter.device)
        self._has_loaded = True
        self.logger.info(f'resumed {filename}: {epoch} epochs, {iteration} iterations are done')

    def _batches_done(self, meta: Mapping[str, Any], filename: str) -> int:
        """Give the number of batches of the current epoch that are done."""
        loader = self.train_dataloader
        now = {
            'iters_per_epoch': len(loader),
            'batch_size': loader.batch_sampler.batch_size,
            'world_size': self.world_size,
        }
        changed = [
            f'{key} {meta[key]} -> {value}' for key, value in now.items() if meta.get(key) != value
        ]
        done = meta['iter'] - meta['epoch'] * meta['iters_per_epoch']
        endless = getattr(loader.batch_sampler.sampler, 'endless', False)
        if not endless and not 0 <= done <= meta['iters_per_epoch']:
            raise UserError(
                f'{filename}: was trained by iterations, this config trains by epochs; resume with '
                'the config of the checkpoint'
            )
        if changed and done and not endless:
            raise UserError(
                f'{filename}: was taken inside an epoch, after {done} of '
                f'{meta["iters_per_epoch"]} batches, and the batches have changed since '
                f'({", ".join(changed)}); resume with the old settings or from the end of an epoch'
            )
        if changed:
            self.logger.warning(
                f'{filename}: {", ".join(changed)}: the run will not be the same as one that was '
                'never interrupted'
            )
        return done


def _state_of(scheduler: _ParamScheduler) -> dict[str, Any]:
    # Functions are made by the constructor again; they are no plain values.
    return {key: value for key, value in scheduler.state_dict().items() if not callable(value)}


def _map_schedulers(schedulers: Any, function: Any) -> Any:
    if isinstance(schedulers, Mapping):
        return {name: [function(item) for item in items] for name, items in schedulers.items()}
    return [function(item) for item in schedulers]


def _load_schedulers(schedulers: Any, states: Any, filename: str) -> None:
    own = schedulers if isinstance(schedulers, Mapping) else {'': schedulers}
    stored = states if isinstance(states, Mapping) else {'': states}
    lengths = ({k: len(v) for k, v in own.items()}, {k: len(v) for k, v in stored.items()})
    if lengths[0] != lengths[1]:
        raise UserError(
            f'{filename}: holds {lengths[1]} schedulers per optimizer, the config has '
            f'{lengths[0]}; resume with the config of the checkpoint'
        )
    for name, items in own.items():
        for scheduler, state in zip(items, stored[name], strict=True):
            scheduler.load_state_dict(state)
