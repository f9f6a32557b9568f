"""What the scripts of chest X-rays share: grey values, united masks, divisions by patient."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjoint.utils.errors import UserError

from .scripts import chest_xrays


def records(*sizes):
    """Patient p0 has ``sizes[0]`` images, and so on."""
    return [
        {'patient_id': f'p{patient:03d}', 'number': number}
        for patient, size in enumerate(sizes)
        for number in range(size)
    ]


def patients(rows):
    return {row['patient_id'] for row in rows}


def test_colours_become_grey_by_itu_601_and_grey_stays(tmp_path):
    rng = np.random.RandomState(0)
    colour = rng.randint(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / 'c.png')
    grey = chest_xrays.read_grey(tmp_path / 'c.png')
    assert np.abs(grey - colour @ [0.299, 0.587, 0.114]).max() <= 0.51
    Image.fromarray(colour[..., 0]).save(tmp_path / 'g.png')
    assert np.array_equal(chest_xrays.read_grey(tmp_path / 'g.png'), colour[..., 0])
    Image.fromarray(colour[..., 0] > 127).save(tmp_path / 'b.png')
    assert np.array_equal(chest_xrays.read_binary(tmp_path / 'b.png'), colour[..., 0] > 127)


def test_resizing_averages_all_pixels_and_masks_stay_binary():
    image = np.zeros((80, 120), np.uint8)
    image[::2] = 200  # one row in two: plain bilinear sampling could see either alone
    assert np.abs(chest_xrays.resize_grey(image, 10).astype(int) - 100).max() <= 5
    mask = np.zeros((80, 120), bool)
    mask[:, 60:] = True
    small = chest_xrays.resize_mask(mask, 10)
    assert small.dtype == np.uint8
    assert np.array_equal(small, np.repeat([[0] * 5 + [1] * 5], 10, axis=0))


def test_masks_are_united_not_added():
    one, two = np.zeros((2, 4, 4), bool)
    one[:, :3], two[:, 2:] = True, True
    both = chest_xrays.unite({Path('a'): one, Path('b'): two})
    assert both.dtype == bool and both.all()
    with pytest.raises(UserError, match=r'^b: expected the size of the other lung, 4x4, found 3x4'):
        chest_xrays.unite({Path('a'): one, Path('b'): two[:, :3]})
    with pytest.raises(UserError, match=r'^b: expected a lung, found no pixel of it'):
        chest_xrays.unite({Path('a'): one, Path('b'): two & False})


def test_images_of_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / 'x.png')
    with pytest.raises(UserError, match=r'x\.png: expected grey or colour values of 8 bits, found'):
        chest_xrays.read_grey(tmp_path / 'x.png')


@pytest.mark.parametrize('count', [1, 7, 40, 59])
def test_division_takes_whole_patients_and_the_exact_number_where_it_can(count):
    rows = records(*[3, 1, 2, 1, 1] * 8)
    first, rest = chest_xrays.divide(rows, count, np.random.default_rng(1))
    assert len(first) == count and len(first) + len(rest) == len(rows)
    assert not patients(first) & patients(rest)
    assert [row for row in rows if row in first] == first  # in order
    again, _ = chest_xrays.divide(rows, count, np.random.default_rng(1))
    other, _ = chest_xrays.divide(rows, count, np.random.default_rng(2))
    assert first == again and (first != other)


def test_label_budgets_are_nested_and_disjoint_by_patient():
    rows = records(*[2, 1, 1, 3] * 50)
    splits = chest_xrays.label_budgets(rows, (100, 10), (), seed=0)
    assert list(splits) == ['labelled_10', 'unlabelled_10', 'labelled_100', 'unlabelled_100']
    for number in (10, 100):
        labelled, unlabelled = splits[f'labelled_{number}'], splits[f'unlabelled_{number}']
        assert len(labelled) == number and len(unlabelled) == len(rows) - number
        assert not patients(labelled) & patients(unlabelled)
    assert patients(splits['labelled_10']) < patients(splits['labelled_100'])
    assert splits == chest_xrays.label_budgets(rows, (10, 100), (), seed=0)
    other = chest_xrays.label_budgets(rows, (10,), (), seed=1)
    assert other['labelled_10'] != splits['labelled_10']
    # A budget does not depend on which other ones there are, except on smaller ones.
    alone = chest_xrays.label_budgets(rows, (10,), (), seed=0)
    assert alone['labelled_10'] == splits['labelled_10']


def test_usual_budgets_that_do_not_fit_are_left_out_and_told(capsys):
    splits = chest_xrays.label_budgets(records(*[1] * 30), None, (10, 50), seed=0)
    assert list(splits) == ['labelled_10', 'unlabelled_10']
    assert capsys.readouterr().err == (
        'note: 30 training images are too few for labelled_50: not made\n'
    )


def test_budgets_that_patients_cannot_make_up(capsys):
    splits = chest_xrays.label_budgets(records(2, 2, 2), (3,), (), seed=0)
    assert len(splits['labelled_3']) == 2
    assert 'labelled_3 has 2 images: patients are not divided' in capsys.readouterr().err
    with pytest.raises(UserError, match=r'--labelled: .* whole patients can make up, found 1'):
        chest_xrays.label_budgets(records(2, 2, 2), (1,), (), seed=0)
    with pytest.raises(UserError, match=r'--labelled: expected numbers from 1 to 5, .* found 6'):
        chest_xrays.label_budgets(records(2, 2, 2), (6,), (), seed=0)
