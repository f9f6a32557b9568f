import nibabel
import numpy as np
import openpyxl
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from mmjoint.phantoms import write_ispy1
from mmjoint.phantoms.breast_mr import draw_core, render_breast, volume_shape
from mmjoint.phantoms.common import case_rng
from mmjoint.utils.io import sha256_file


def test_volume_shape_follows_the_real_one():
    assert volume_shape(256) == (256, 256, 60)
    assert volume_shape(128) == (128, 128, 30)
    assert volume_shape(48) == (48, 48, 24)


def test_response_follows_from_the_core_with_a_small_overlap():
    rng = case_rng(0)
    poor = [draw_core(rng, False) for _ in range(800)]
    good = [draw_core(rng, True) for _ in range(800)]
    assert 0.05 <= min(poor) and max(poor) <= 0.60
    assert 0.50 <= min(good) and max(good) <= 1.0
    assert 0.99 < roc_auc_score([0] * 800 + [1] * 800, poor + good) < 1


@pytest.fixture(scope='module')
def volumes():
    return [
        (label, render_breast(case_rng(1, index, label), volume_shape(48), bool(label)))
        for index in range(12)
        for label in (0, 1)
    ]


def test_tumours_are_single_bright_and_span_more_than_ten_slices(volumes):
    for _, phantom in volumes:
        assert phantom.image.dtype == np.int16 and phantom.image.min() >= 0
        assert set(np.unique(phantom.mask)) == {0, 1}
        assert np.count_nonzero(phantom.mask.any(axis=(0, 1))) >= 10
        labelled, _ = ndimage.label(phantom.mask)
        sizes = np.bincount(labelled.ravel())[1:]
        assert sizes.max() >= 0.97 * sizes.sum()
        tumour = phantom.mask > 0
        assert phantom.image[tumour].mean() > 1.5 * phantom.image[~tumour].mean()


def test_core_against_rim_tells_the_response(volumes):
    labels, ratios = [], []
    for label, phantom in volumes:
        # Depth in units of the tumour's own depth; slices are thicker than pixels.
        depth = ndimage.distance_transform_edt(phantom.mask, sampling=phantom.spacing)
        depth /= depth.max()
        core = phantom.image[depth > 0.65].mean()
        rim = phantom.image[(depth > 0.1) & (depth < 0.4)].mean()
        labels.append(label)
        ratios.append(core / rim)
    assert roc_auc_score(labels, ratios) >= 0.95


def test_field_of_view_in_mm_does_not_depend_on_the_size(volumes):
    _, phantom = volumes[0]
    extent = np.array(phantom.spacing) * phantom.image.shape
    assert extent == pytest.approx((179.2, 179.2, 120.0))


def test_raw_layout(tmp_path):
    truth = write_ispy1(tmp_path / 'a', num_cases=4, seed=2, size=32, pcr_share=0.5)
    write_ispy1(tmp_path / 'b', num_cases=4, seed=2, size=32, pcr_share=0.5)
    names = sorted(
        path.relative_to(tmp_path / 'a').as_posix()
        for path in (tmp_path / 'a').rglob('*')
        if path.is_file()
    )
    ids = range(1001, 1005)
    assert names == [
        *(f'Dataset ISPY/ISPY_{number}/DCEMRI_1.nii' for number in ids),
        *(f'Tumor_segmentation_new/ISPY_{number}_tumor_mask.nii' for number in ids),
        'outcome_new.xlsx',
    ]
    assert all(sha256_file(tmp_path / 'a' / n) == sha256_file(tmp_path / 'b' / n) for n in names)
    rows = list(openpyxl.load_workbook(tmp_path / 'a' / 'outcome_new.xlsx').active.values)
    assert rows[0] == ('SUBJECTID', 'PCR')
    assert rows[1:] == [(case['id'], case['pcr']) for case in truth]
    assert sum(case['pcr'] for case in truth) == 2
    volume = nibabel.load(tmp_path / 'a' / names[0])
    assert volume.shape == (32, 32, 24)
    assert volume.header.get_zooms() == pytest.approx((5.6, 5.6, 5.0))
