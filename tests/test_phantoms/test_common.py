import zipfile

import numpy as np
import openpyxl
import pytest

from mmjoint.phantoms.common import case_rng, divide, draw_labels, smooth_noise, write_sheet


@pytest.mark.parametrize(
    ('total', 'ratio', 'parts'),
    [
        (60, (1, 1, 1), [20, 20, 20]),
        (10, (1, 1, 1), [3, 4, 3]),
        (70, (4, 1, 2), [40, 10, 20]),
        (3, (100, 1, 1), [1, 1, 1]),
        (2, (1, 1, 1), [1, 0, 1]),
    ],
)
def test_divide(total, ratio, parts):
    assert divide(total, ratio) == parts


@pytest.mark.parametrize(
    ('num_cases', 'share', 'positive'),
    [(400, 0.1, 40), (20, 0.5, 10), (4, 0.0, 1), (4, 1.0, 3), (1, 0.1, 0), (0, 0.5, 0)],
)
def test_labels_have_the_wanted_number_of_positives(num_cases, share, positive):
    labels = draw_labels(case_rng(0), num_cases, share)
    assert len(labels) == num_cases
    assert labels.sum() == positive


def test_case_rng_depends_on_every_number():
    draws = [case_rng(*key).integers(2**62) for key in ((0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2))]
    assert len(set(draws)) == 4
    assert case_rng(0, 1, 2).integers(2**62) == draws[0]


@pytest.mark.parametrize('shape', [(60, 80), (20, 24, 16)])
def test_smooth_noise_is_standardised_and_smooth(shape):
    field = smooth_noise(case_rng(3), shape, 8)
    assert field.shape == shape
    assert abs(field.mean()) < 1e-4
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(field, axis=0)).mean() < 0.3  # white noise has 1.13


def test_sheet_holds_its_rows_and_no_time(tmp_path):
    write_sheet(tmp_path / 'a.xlsx', ('ImgName', 'Label(Glaucoma=1)'), [('T0001.jpg', 1)])
    sheet = openpyxl.load_workbook(tmp_path / 'a.xlsx').active
    assert list(sheet.values) == [('ImgName', 'Label(Glaucoma=1)'), ('T0001.jpg', 1)]
    with zipfile.ZipFile(tmp_path / 'a.xlsx') as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2018, 1, 1, 0, 0, 0)}
        assert archive.read('docProps/core.xml').count(b'2018-01-01T00:00:00Z') == 2
