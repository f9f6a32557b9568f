"""Train or test on several processes: the program behind ``tools/dist_train.sh``.

Checks the command before anything is started, decides between CUDA devices and CPU processes,
lets torchrun start the processes, and says in one line what went wrong in the first that failed.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import torch

from mmjoint.utils.errors import UserError

from . import test, train
from .failures import ERROR_DIR, LAUNCHER_PID, first_failure
from .running import check_data

_PROGRAMS = {'train': train, 'test': test}


def parse_args(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line of ``tools/launch.py``.

    Returns:
        The task and the number of processes, and the arguments of ``tools/<task>.py``.
    """
    parser = argparse.ArgumentParser(
        prog='tools/launch.py', description='Train or test on several processes.'
    )
    parser.add_argument('task', choices=tuple(_PROGRAMS))
    parser.add_argument('num_processes', metavar='N', help='processes on this machine')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='arguments of tools/train.py or tools/test.py'
    )
    args = parser.parse_args(argv)
    if not args.num_processes.isdigit() or int(args.num_processes) < 1:
        raise UserError(
            f'expected a number of processes (1, 2, 4, ...), found {args.num_processes!r}'
        )
    args.num_processes = int(args.num_processes)
    return args, args.arguments


def check_devices(num_processes: int) -> bool:
    """Decide what the processes run on.

    Returns:
        Whether CUDA is used; else there is no device and CPU processes are to run.

    Raises:
        UserError: If there are CUDA devices, but fewer than processes.
    """
    num_devices = torch.cuda.device_count()
    if num_devices == 0:
        return False
    if num_devices < num_processes:
        raise UserError(
            f'{num_processes} processes need {num_processes} CUDA devices, this machine has '
            f'{num_devices}: ask for at most {num_devices}, or set CUDA_VISIBLE_DEVICES="" to run '
            f'{num_processes} CPU processes'
        )
    return True


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) < least:
        raise UserError(f'{name}: expected an integer >= {least}, found {text!r}')
    return int(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def torchrun_arguments(num_processes: int) -> list[str]:
    """Translate ``NNODES``, ``NODE_RANK``, ``MASTER_ADDR`` and ``PORT`` for torchrun.

    Raises:
        UserError: If one of them is no number, or several machines are asked for without the
            address of the first.
    """
    num_nodes = _number('NNODES', 1, 1)
    node_rank = _number('NODE_RANK', 0, 0)
    if node_rank >= num_nodes:
        raise UserError(f'NODE_RANK: expected a number below NNODES={num_nodes}, got {node_rank}')
    address = os.environ.get('MASTER_ADDR')
    if num_nodes > 1 and not address:
        raise UserError(f'NNODES={num_nodes}: set MASTER_ADDR to the address of the first machine')
    # Several machines cannot agree on a free port by themselves.
    port = _number('PORT', 29500 if num_nodes > 1 else _free_port(), 1)
    return [
        f'--nnodes={num_nodes}',
        f'--node-rank={node_rank}',
        f'--nproc-per-node={num_processes}',
        f'--master-addr={address or "127.0.0.1"}',
        f'--master-port={port}',
        '--max-restarts=0',
        '--monitor-interval=0.2',
    ]


def _share_cores(num_processes: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ.setdefault(name, str(max(1, (cores or 1) // num_processes)))


def run_processes(script: Path, num_processes: int, arguments: list[str]) -> int:
    """Run ``script`` in several processes through torchrun.

    Returns:
        The exit code: 0, or the one of the process that failed first.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    # The processes' own line is enough; torchrun would add its report and a traceback.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix='mmjoint_') as folder:
        os.environ[ERROR_DIR] = folder
        os.environ[LAUNCHER_PID] = str(os.getpid())
        try:
            args = torchrun.parse_args(
                [*torchrun_arguments(num_processes), str(script), *arguments]
                + ['--launcher', 'pytorch']
            )
            config, command, command_arguments = torchrun.config_from_args(args)
            elastic_launch(config=config, entrypoint=command)(*command_arguments)
        except ChildFailedError as error:
            return _tell(folder, error)
        except SignalException as stop:
            print(f'error: stopped by {stop.sigval.name}', file=sys.stderr)
            return 128 + stop.sigval
        finally:
            del os.environ[ERROR_DIR], os.environ[LAUNCHER_PID]
            logging.disable(logging.NOTSET)
    return 0


def _tell(folder: str, error: Exception) -> int:
    rank, failure = error.get_first_failure()
    told = first_failure(folder)
    # A process ended by a signal says nothing, and the others then fail for want of it. SIGTERM is
    # what the launcher itself sends to the rest.
    killed = [
        (rank, -item.exitcode)
        for rank, item in error.failures.items()
        if item.exitcode < 0 and item.exitcode != -signal.SIGTERM
    ]
    if killed and not (told and told[1]):
        rank, number = killed[0]
        why = ', often for want of memory' if number == signal.SIGKILL else ''
        print(f'error: process {rank} was ended by signal {number}{why}', file=sys.stderr)
        return 128 + number
    if told is not None:
        line, by_user = told
        print(f'error: {line}', file=sys.stderr)
        if not by_user:
            print('(run again with --traceback for the details)', file=sys.stderr)
        return 1
    return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode


def main(argv: list[str] | None = None) -> None:
    """Launch from the command line; exits with the code of the processes if they fail."""
    argv = sys.argv[1:] if argv is None else argv
    launch, arguments = parse_args(argv)
    program = _PROGRAMS[launch.task]
    args = program.parse_args(arguments)
    with_cuda = check_devices(launch.num_processes)
    cfg = program.prepare(args)
    check_data(cfg, training=launch.task == 'train')
    if not with_cuda:
        print(
            f'no CUDA device found: running {launch.num_processes} CPU processes over gloo',
            flush=True,
        )
    _share_cores(launch.num_processes)
    script = Path(__file__).resolve().parents[2] / 'tools' / f'{launch.task}.py'
    if '--traceback' in sys.argv and '--traceback' not in arguments:
        arguments = [*arguments, '--traceback']  # taken off by run_cli
    code = run_processes(script, launch.num_processes, arguments)
    if code:
        sys.exit(code)
