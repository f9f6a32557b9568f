"""Run a chain of stages: python tools/run_stages.py CHAIN [N] [--help]."""

from mmjoint.apis.run_stages import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
