import shutil

import pytest

from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import sha256_file

from .scripts import make_phantoms


@pytest.fixture(scope='session')
def phantom_refuge(tmp_path_factory):
    """Nine photographs in REFUGE's raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'refuge'
    make_phantoms.make_phantoms(
        'refuge', root, num_cases=9, seed=3, size=96, glaucoma_share=0.34, nested_test_masks=True
    )
    return root


@pytest.fixture(scope='session')
def phantom_ispy1(tmp_path_factory):
    """Seven volumes in I-SPY1's raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'ispy1'
    make_phantoms.make_phantoms('ispy1', root, num_cases=7, seed=3, size=32, pcr_share=0.43)
    return root


@pytest.fixture
def raw_refuge(phantom_refuge, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_refuge, tmp_path / 'raw')


@pytest.fixture
def raw_ispy1(phantom_ispy1, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_ispy1, tmp_path / 'raw')


@pytest.fixture
def cli(capsys):
    """Run a script's ``main`` as its command line does; gives exit code, stdout and stderr."""

    def run(main, *words):
        code = 0
        try:
            run_cli(main, [str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def tree():
    """Relative path -> checksum of all files below a folder."""

    def read(root):
        return {
            path.relative_to(root).as_posix(): sha256_file(path)
            for path in root.rglob('*')
            if path.is_file()
        }

    return read
