import json

import pytest

from .scripts import (
    chest_xray_pneumonia,
    ispy1,
    jsrt,
    la,
    make_phantoms,
    mmwhs,
    mnms,
    montgomery,
    nih_pneumonia,
    refuge,
    synapse,
)


def test_command_line_reaches_the_writer(tmp_path, cli, tree):
    words = ('--num-cases', 8, '--seed', 6, '--size', 32, '--glaucoma-share', 0.5)
    code, out, err = cli(
        make_phantoms.main, 'refuge', tmp_path / 'a', *words, '--split-ratio', 2, 1, 1
    )
    assert (code, out, err) == (0, f'{tmp_path}/a: 8 cases\n', '')
    info = json.loads((tmp_path / 'a' / 'phantom_info.json').read_text())
    assert info['seed'] == 6 and info['size'] == 32 and info['phantom'] is True
    assert info['options']['split_ratio'] == [2.0, 1.0, 1.0]
    assert [case['split'] for case in info['cases']] == ['train'] * 4 + ['val'] * 2 + ['test'] * 2
    assert sum(case['glaucoma'] for case in info['cases']) == 4
    cli(make_phantoms.main, 'refuge', tmp_path / 'b', *words, '--split-ratio', 2, 1, 1)
    assert tree(tmp_path / 'a') == tree(tmp_path / 'b')


def test_overwrite_replaces_phantoms(tmp_path, cli):
    for seed in (0, 1):
        words = ('--num-cases', 3, '--size', 32, '--seed', seed, '--overwrite')
        assert cli(make_phantoms.main, 'ispy1', tmp_path / 'raw', *words)[0] == 0
        info = json.loads((tmp_path / 'raw' / 'phantom_info.json').read_text())
        assert info['seed'] == seed
    assert [path.name for path in tmp_path.iterdir()] == ['raw']


def test_smallest_sets_can_be_prepared(tmp_path, cli):
    words = ('--num-cases', 6, '--size', 32)
    assert cli(make_phantoms.main, 'refuge', tmp_path / 'r', *words)[0] == 0
    assert cli(refuge.main, tmp_path / 'r', tmp_path / 'refuge', '--size', 16)[0] == 0
    assert cli(make_phantoms.main, 'ispy1', tmp_path / 'i', *words, '--pcr-share', 0.5)[0] == 0
    assert cli(ispy1.main, tmp_path / 'i', tmp_path / 'ispy1')[0] == 0
    info = json.loads((tmp_path / 'ispy1' / 'dataset_info.json').read_text())
    assert [split['num_patients'] for split in info['splits'].values()] == [2, 2, 2]


@pytest.mark.parametrize(
    ('dataset', 'script', 'num_cases', 'words'),
    [
        ('la', la, 3, ()),
        ('synapse', synapse, 4, ('--shape', 8, 16, 16)),
        ('mmwhs', mmwhs, 6, ('--shape', 16, 16, 16)),
        ('mnms', mnms, 8, ('--shape', 8, 16, 16)),
        ('mnms', mnms, 8, ('--2d', '--short-side', 16)),
    ],
)
def test_smallest_sets_of_volumes_can_be_prepared(dataset, script, num_cases, words, tmp_path, cli):
    made = cli(
        make_phantoms.main, dataset, tmp_path / 'raw', '--num-cases', num_cases, '--size', 16
    )
    assert made[0] == 0, made[2]
    code, _, err = cli(script.main, tmp_path / 'raw', tmp_path / 'out', *words)
    assert code == 0, err
    info = json.loads((tmp_path / 'out' / 'dataset_info.json').read_text())
    assert info['phantom'] is True
    assert min(split['num_samples'] for split in info['splits'].values()) >= 1


@pytest.mark.parametrize(
    ('dataset', 'script', 'num_cases', 'words'),
    [
        ('chest_xray_pneumonia', chest_xray_pneumonia, 15, ()),
        ('jsrt', jsrt, 4, ()),
        ('jsrt', jsrt, 4, ('--mat',)),
        ('montgomery', montgomery, 3, ()),
        ('nih_pneumonia', nih_pneumonia, 2, ()),
    ],
)
def test_smallest_sets_of_chest_xrays_can_be_prepared(
    dataset, script, num_cases, words, tmp_path, cli
):
    words = ('--num-cases', num_cases, '--size', 16, *words)
    made = cli(make_phantoms.main, dataset, tmp_path / 'raw', *words)
    assert made[0] == 0, made[2]
    code, _, err = cli(script.main, tmp_path / 'raw', tmp_path / 'out', '--size', 16)
    assert code == 0, err
    info = json.loads((tmp_path / 'out' / 'dataset_info.json').read_text())
    assert info['phantom'] is True
    assert min(split['num_samples'] for split in info['splits'].values()) >= 1
