import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from mmjoint.apis import train

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['tests.test_engine.toy'])
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(type='ToyDataset', size=13),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(type='ToyDataset', size=5),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ToyAccuracy')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01, weight_decay=1e-4))
param_scheduler = dict(type='PolyAfterLR', change_epoch=1, min_lr=1e-4)
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='cls/confidence', rule='greater'),
    prediction_images=dict(num_samples=0),
)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


def write_config(folder: Path, extra: str = '', name: str = 'toy.py') -> Path:
    """Write a config that changes the toy config by ``extra``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'base_of_toy.py').write_text(CONFIG.format(root=ROOT))
    path = folder / name
    path.write_text(f"_base_ = ['base_of_toy.py']\n{extra}")
    return path


def run_tool(tool: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run a tool as a user does, in a process of its own."""
    command = ['bash'] if tool.endswith('.sh') else [sys.executable]
    return subprocess.run(
        [*command, str(ROOT / 'tools' / tool), *map(str, arguments)],
        cwd=ROOT,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            'PYTHON': sys.executable,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def _work(rank: int, size: int, port: int, arguments: list[str]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    train.main(arguments + (['--launcher', 'pytorch'] if size > 1 else []))


def train_forked(size: int, *arguments: object) -> list[int]:
    """Train in ``size`` forked processes, which need not import anything again.

    Returns:
        The exit codes, -9 for a killed process. The first that dies takes the others with it.
    """
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context('fork')
    words = [str(word) for word in arguments]
    processes = [
        context.Process(target=_work, args=(rank, size, port, words)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes):
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return [process.exitcode for process in processes]


def differences(one: object, two: object, where: str = '') -> list[str]:
    """Name every place where two checkpoints differ by a bit, besides names and times."""
    # mmengine's version carries the commit of the working folder, which may change between runs.
    named = ('.cfg', '.time', '.experiment_name', '.eta', '.mmengine_version')
    if where.endswith(named):
        return []
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
        timing = where.split('/')[-1].split('.')[0] in ('time', 'data_time')
        return [] if same or timing else [where]
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [f'{where}.{k}' for k in set(one) ^ set(two)]
        for key in set(one) & set(two):
            keys += differences(one[key], two[key], f'{where}.{key}')
        return keys
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        found = []
        for index, pair in enumerate(zip(one, two, strict=True)):
            found += differences(*pair, f'{where}[{index}]')
        return found
    return [] if one == two else [where]


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)
