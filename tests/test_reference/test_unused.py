from pathlib import Path

import pytest

from .loader import ROOT, unused_arrays

HERE = Path(__file__).parent
METHODS = ('generic_ssl', 'mc_unet_uq', 'multimix', 'partial_fundus', 'uml')


@pytest.mark.parametrize('method', METHODS)
def test_every_reference_array_is_used(method, request):
    if not (ROOT / method).is_dir():
        pytest.skip(f'no reference vectors of {method}')
    ran = {item.path for item in request.session.items}
    needed = set(HERE.glob(f'test_{method}_*.py'))
    if not needed <= ran or request.config.getoption('keyword'):
        pytest.skip('only part of the reference tests was selected')
    left = unused_arrays(method)
    assert not left, 'no test has read: ' + '; '.join(left)
