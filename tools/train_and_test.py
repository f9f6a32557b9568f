"""Train, test and evaluate: python tools/train_and_test.py CONFIG N [--help]."""

from mmjoint.apis.train_and_test import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
