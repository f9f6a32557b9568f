import numpy as np
import pytest
import torch

from mmjoint.functional.geometry import file_grid
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.visualization import volume_slices
from mmjoint.visualization.volume_slices import draw_slices

# Voxels of 1 x 2 x 4 mm; the file's axes run to the left, the front and the head.
AFFINE = np.diag([-1.0, 2, 4, 1])
SHAPE = (8, 10, 6)
PALETTE = [[0, 0, 0], [250, 0, 0]]


def sample_of(labels, *, geometry=True, entropy=True):
    sample = JointDataSample()
    if geometry:
        grid = file_grid('a.nii', labels.shape, AFFINE)
        sample.set_metainfo(dict(geometry=grid.to_dict()))
    sample.pred_sem_seg = VolumeData(data=torch.from_numpy(labels.astype(np.int64))[None])
    if entropy:
        maps = torch.rand((1, *labels.shape), generator=torch.manual_seed(0)) / 2
        sample.seg_uncertainty = VolumeData(predictive_entropy=maps)
    return sample


@pytest.fixture
def rows(monkeypatch):
    """What is handed to the panels, row by row."""
    seen = []
    real = volume_slices.compose

    def compose(panels, legend, caption, panel_size):
        seen.append((panels, legend, caption))
        return real(panels, legend, caption, panel_size)

    monkeypatch.setattr(volume_slices, 'compose', compose)
    return seen


def test_slices_are_upright_and_lie_where_most_is_predicted(rows):
    image = np.full(SHAPE, 40, np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2:9, 1:5] = 1  # left is at high i, so this is on the right of the patient
    labels[2, 3, 4] = 1
    image[7, 9, 5] = 200  # left, front, head
    meta = dict(classes=('background', 'organ'), palette=PALETTE)
    picture = draw_slices(image, sample_of(labels), meta, caption='a.nii', panel_size=48)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    images, overlays, heats = (row[0] for row in rows)
    assert [panel.title for panel in images] == [
        *('axial, k = 4 (0 to 5)', 'coronal, j = 3 (0 to 9)', 'sagittal, i = 1 (0 to 7)')
    ]
    # 8 x 20 x 24 mm, the longest of which has 48 pixels.
    assert [panel.image.shape[:2] for panel in images] == [(40, 16), (48, 16), (48, 40)]
    assert rows[1][1] == [('organ', (250, 0, 0))] and rows[2][2] == 'a.nii'
    axial = overlays[0].image.astype(int)
    red = axial[..., 0] - axial[..., 2] > 50
    # i = 1 of 0..7 is the second pair of columns; j = 2..8 of 0..9 from the back (below).
    assert red[4:32, 2:4].all() and not red[:, 6:].any()
    assert [panel.upper for panel in heats] == [None, None, pytest.approx(np.log(2))]


def test_the_head_is_up(rows):
    image = np.zeros(SHAPE, np.uint8)
    image[:, :, 5] = 200
    draw_slices(image, sample_of(np.zeros(SHAPE)), panel_size=48)
    for panel in rows[0][0][1:]:
        assert panel.image[0].min() > panel.image[-1].max()
    # Nothing is predicted: the middle slices.
    assert [panel.title.split(' = ')[1][0] for panel in rows[0][0]] == ['3', '4', '4']


def test_without_geometry_and_uncertainty(rows):
    picture = draw_slices(
        np.zeros((4, 5, 6), np.uint8),
        sample_of(np.ones((4, 5, 6)), geometry=False, entropy=False),
    )
    assert len(rows) == 2 and picture.shape[0] > 0
