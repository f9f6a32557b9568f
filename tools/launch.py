"""Train or test on several processes; tools/dist_train.sh and dist_test.sh call it."""

from mmjoint.apis.launch import main
from mmjoint.utils.cli import run_cli

if __name__ == '__main__':
    run_cli(main)
