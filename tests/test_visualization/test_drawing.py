import numpy as np
import pytest

from mmjoint.visualization.drawing import (
    as_rgb,
    class_palette,
    colour_bar,
    contact_sheet,
    decode_image,
    draw_contours,
    encode_image,
    heat_map,
    heat_table,
    measure_unit,
    overlay_heat,
    overlay_labels,
    resize_to_fit,
    write_image,
)

PALETTE = [(0, 0, 0), (200, 0, 0), (0, 100, 0)]


def test_overlay_blends_areas_and_paints_borders():
    image = np.full((9, 9, 3), 100, np.uint8)
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 1
    before = image.copy(), labels.copy()
    drawn = overlay_labels(image, labels, PALETTE, opacity=0.5, contour_width=1)
    assert drawn[0, 0].tolist() == [100, 100, 100]  # background stays bare
    assert drawn[4, 4].tolist() == [150, 50, 50]
    assert drawn[2, 4].tolist() == [200, 0, 0]
    assert (drawn == [200, 0, 0]).all(-1).sum() == 16  # the border of a 5x5 square
    assert np.array_equal(image, before[0]) and np.array_equal(labels, before[1])


def test_a_class_at_the_edge_of_the_image_has_a_border_there():
    drawn = overlay_labels(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), int), PALETTE)
    assert (drawn == [200, 0, 0]).all(-1).sum() == 12


def test_ignored_pixels_are_striped_grey():
    labels = np.full((6, 6), 255)
    drawn = overlay_labels(np.zeros((6, 6, 3), np.uint8), labels, PALETTE)
    assert sorted(np.unique(drawn)) == [0, 128]


def test_overlay_refuses_what_it_cannot_draw():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r'labels are \(4, 5\), the image is \(4, 4\)'):
        overlay_labels(image, np.zeros((4, 5), int), PALETTE)
    with pytest.raises(ValueError, match='class id 3 has no colour in a palette of 3'):
        overlay_labels(image, np.full((4, 4), 3), PALETTE)


def test_contours_leave_the_inside():
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 2
    labels[0, 0] = 255
    drawn = draw_contours(np.full((9, 9, 3), 7, np.uint8), labels, [(255, 255, 255)] * 3)
    assert (drawn == 255).all(-1).sum() == 16
    assert (drawn == 7).all(-1).sum() == 81 - 16


def test_heat_map_has_a_fixed_range():
    table = heat_table()
    values = np.array([[0.0, 0.5, 1.0], [-3.0, 9.0, np.nan]])
    drawn = heat_map(values)
    assert drawn[0].tolist() == [table[0].tolist(), table[128].tolist(), table[255].tolist()]
    assert drawn[1, 0].tolist() == table[0].tolist()
    assert drawn[1, 1].tolist() == table[255].tolist()
    assert drawn[1, 2].tolist() == [128, 128, 128]
    # The same value has the same colour whatever else is in the map.
    assert np.array_equal(heat_map(np.array([[0.5]]))[0, 0], drawn[0, 1])
    assert np.array_equal(heat_map(np.array([[1.0]]), upper=2.0)[0, 0], drawn[0, 1])
    other = heat_map(values, colours='viridis')
    assert other[0, 1].tolist() == heat_table('viridis')[128].tolist() != drawn[0, 1].tolist()


@pytest.mark.parametrize(
    'measure, unit',
    [
        ('predictive_entropy', 'nats'),
        ('expected_entropy', 'nats'),
        ('mutual_information', 'nats'),
        ('variance', ''),
        ('vacuity', ''),
    ],
)
def test_units(measure, unit):
    assert measure_unit(measure) == unit


def test_heat_map_refuses_wrong_arguments():
    with pytest.raises(ValueError, match=r'shape \(H, W\), got \(1, 2, 3\)'):
        heat_map(np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match='upper must be above lower'):
        heat_map(np.zeros((2, 2)), 1.0, 1.0)


def test_colour_bar_has_the_upper_bound_on_top():
    bar = colour_bar(20, 3)
    assert bar.shape == (20, 3, 3)
    assert bar[0, 0].tolist() == heat_table()[255].tolist()
    assert bar[-1, 2].tolist() == heat_table()[0].tolist()


def test_as_rgb():
    grey = np.array([[1, 2]], np.uint8)
    assert as_rgb(grey).tolist() == [[[1] * 3, [2] * 3]]
    assert as_rgb(grey[..., None]).tolist() == [[[1] * 3, [2] * 3]]
    with pytest.raises(ValueError, match='must be uint8 in 0..255, got float64'):
        as_rgb(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r'shape \(H, W, 3\), got \(2, 2, 4\)'):
        as_rgb(np.zeros((2, 2, 4), np.uint8))


def test_palette_is_filled_up():
    assert class_palette(2, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == [(1, 2, 3), (4, 5, 6)]
    filled = class_palette(9, [[1, 2, 3]])
    assert filled[0] == (1, 2, 3) and filled[8] == filled[1] and len(set(filled)) == 8


def test_resize_keeps_the_aspect():
    assert resize_to_fit(np.zeros((10, 40, 3), np.uint8), 20).shape == (5, 20, 3)
    labels = np.array([[0, 2]], np.uint8)
    assert resize_to_fit(labels, 4, nearest=True).tolist() == [[0, 0, 2, 2]] * 2


def test_contact_sheet_places_tiles():
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(tiles, 2, gap=1, background=0)
    assert sheet.shape == (7, 9, 3)
    assert sheet[1:3, 1:4].min() == 10 and sheet[1:3, 5:8].min() == 20
    assert sheet[4:6, 1:4].min() == 30 and sheet[4:6, 5:8].max() == 0
    with pytest.raises(ValueError, match='need pictures'):
        contact_sheet([], 2)


def test_png_round_trip_and_atomic_file(tmp_path):
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(decode_image(encode_image(image)), image)
    assert np.array_equal(decode_image(encode_image(image[..., 0])), image[..., 0])
    write_image(tmp_path / 'deep' / 'a.png', image)
    assert np.array_equal(decode_image((tmp_path / 'deep' / 'a.png').read_bytes()), image)
    with pytest.raises(ValueError, match="written as .png or .jpg, got '.tif'"):
        write_image(tmp_path / 'a.tif', image)
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['a.png']


def test_heat_over_an_image():
    """A value of 0 leaves the grey image; the largest shows a quarter of it."""
    image = np.zeros((1, 4, 3), np.uint8)
    image[..., 0] = 90  # grey 30
    values = np.array([[0.0, 1.0, 2.0, np.nan]])
    drawn = overlay_heat(image, values, 2.0, colours='viridis', opacity=0.75)
    table = heat_table('viridis').astype(float)
    assert drawn[0, 0].tolist() == drawn[0, 3].tolist() == [30, 30, 30]
    assert drawn[0, 2].tolist() == np.rint(0.25 * 30 + 0.75 * table[255]).tolist()
    half = 0.5 * 0.75
    assert np.abs(drawn[0, 1] - ((1 - half) * 30 + half * table[128])).max() <= 1
    beyond = overlay_heat(image, values * 2, 2.0, colours='viridis', opacity=0.75)
    assert beyond[0, 2].tolist() == drawn[0, 2].tolist()
    with pytest.raises(ValueError, match=r'the map is \(2, 4\), the image \(1, 4\)'):
        overlay_heat(image, np.zeros((2, 4)), 1.0)
