"""Test a checkpoint: python tools/test.py CONFIG CKPT [--help]."""

from mmjoint.apis.test import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
