"""Fit temperatures on the validation set: python tools/calibrate.py CONFIG CKPT --out FILE."""

from mmjoint.apis.calibrate import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
