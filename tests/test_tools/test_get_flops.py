import json

import pytest
from mmengine.registry import DefaultScope

from mmjoint.utils.errors import UserError
from tools.analysis_tools.get_flops import main

from . import tiny


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(tiny.CONFIG)
    yield str(path)
    DefaultScope._instance_dict.clear()


def test_counts_by_hand(config, tmp_path, capsys):
    out = tmp_path / 'flops.json'
    main([config, '--shape', '16', '24', '--batch-size', '2', '--out', str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    convolution = 2 * 16 * 24 * 3 * 3 * 9  # images, pixels, channels in and out, kernel
    linear = 2 * 3 * 2
    assert result['macs'] == convolution + linear
    assert result['flops'] == 2 * result['macs']
    assert result['modules']['conv'] == dict(flops=2 * convolution, num_parameters=84)
    assert result['modules']['fc'] == dict(flops=2 * linear, num_parameters=8)
    assert result['num_parameters'] == result['num_trainable'] == 92
    assert result['input_shape'] == [2, 3, 16, 24]


def test_wrong_shape(config):
    with pytest.raises(UserError, match=r'cannot take the shape \[1, 4, 8, 8\]: .*channels'):
        main([config, '--shape', '8', '8', '--channels', '4'])
