import argparse

import pytest

from mmjoint.apis.config import OptionsAction


@pytest.mark.parametrize(
    ('word', 'value'),
    [
        ('root=data/my set/', 'data/my set/'),
        ('lr=1e-3', 1e-3),
        ('flag=False', False),
        ('size=(64, 64)', (64, 64)),
        ('names=[a, b c]', ['a', 'bc']),  # mmengine's lists have no spaces
        ('some=1,2', [1, 2]),
        ('empty=None', None),
    ],
)
def test_values_of_options(word, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    options = parser.parse_args(['--cfg-options', word]).cfg_options
    assert list(options.values()) == [value]
