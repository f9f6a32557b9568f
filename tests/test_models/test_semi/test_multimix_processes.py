import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # two processes that import everything
def test_two_processes_are_one_of_both_batches(tmp_path):
    """Also: the saliency's own gradients do not disturb the averaging of the weights'."""
    worker = Path(__file__).with_name('multimix_worker.py')
    processes = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), tmp_path / 'store'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
