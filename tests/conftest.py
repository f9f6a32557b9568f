import gc
import logging
import os

import pytest

# The cores are shared by whatever runs beside the tests.
os.environ.setdefault('OMP_NUM_THREADS', '1')


def pytest_configure():
    # The layout of dumped configs takes seconds and changes nothing in them.
    import yapf.yapflib.yapf_api as yapf

    yapf.FormatCode = lambda text, **_: (text, True)


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='also run the tests marked slow')


def pytest_collection_modifyitems(config, items):
    if not config.getoption('--slow'):
        skip = pytest.mark.skip(reason='slow: run with --slow')
        for item in items:
            if item.get_closest_marker('slow'):
                item.add_marker(skip)
    # Which reference arrays were left unread is known only when all others have run.
    items.sort(key=lambda item: item.name.startswith('test_every_reference_array_is_used'))


def pytest_collection_finish():
    # Each data set that is built collects garbage; what has been imported need not be looked at.
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()


@pytest.fixture
def runner_state():
    """Forget mmengine's global instances after a test that used a Runner."""
    yield
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    logging.shutdown()
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        kind._instance_dict.clear()
