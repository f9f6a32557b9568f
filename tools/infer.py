"""Predict images: python tools/infer.py INPUT... OUT --config CONFIG --checkpoint CKPT [--help]."""

from mmjoint.apis.infer import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
