"""Train a model: python tools/train.py CONFIG [--help]."""

from mmjoint.apis.train import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
