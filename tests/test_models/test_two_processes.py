import subprocess
import sys
from pathlib import Path


def test_ranks_without_labels_train(tmp_path):
    worker = Path(__file__).with_name('gloo_worker.py')
    processes = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), tmp_path / 'store'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    losses = {}
    for rank, process in enumerate(processes):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        for line in out.splitlines():
            name, *values = line.split()
            losses[name, rank] = [float(value) for value in values]
    assert len(losses) == 6
    for (name, rank), (first, nobody, everybody) in losses.items():
        assert (first > 0) == (rank == 0), name
        assert nobody == 0, name
        assert everybody > 0, name
