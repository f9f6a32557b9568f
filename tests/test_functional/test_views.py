import numpy as np
import pytest
import torch
from PIL import Image

from mmjoint.functional.views import (
    ImageViews,
    Shrink,
    View,
    dihedral_views,
    flip_views,
    views_of,
)

GRID = np.arange(6).reshape(2, 3)


def test_dihedral_views_by_hand():
    turned = [np.rot90(GRID, number) for number in range(4)]
    mirrored = [np.rot90(GRID[:, ::-1], number) for number in range(4)]
    views = dihedral_views()
    assert len(views) == 8
    for view, expected in zip(views, turned + mirrored, strict=True):
        np.testing.assert_array_equal(view.apply(GRID, (0, 1)), expected)
        np.testing.assert_array_equal(view.invert(expected, (0, 1)), GRID)
        tensor = torch.from_numpy(GRID)[None]
        np.testing.assert_array_equal(view.apply(tensor, (-2, -1))[0], expected)
        assert torch.equal(view.invert(view.apply(tensor, (-2, -1)), (-2, -1)), tensor)
        colour = np.stack([GRID, GRID + 6], 2)
        np.testing.assert_array_equal(view.apply(colour, (0, 1))[..., 0], expected)
    assert len({view.apply(GRID, (0, 1)).tobytes() for view in views}) == 8


@pytest.mark.parametrize('num_axes', [2, 3])
def test_flips_are_all_different_and_their_own_inverses(num_axes):
    volume = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    axes = tuple(range(-num_axes, 0))
    views = flip_views(num_axes)
    seen = [view.apply(volume, axes) for view in views]
    assert len({tuple(each.flatten().tolist()) for each in seen}) == 2**num_axes
    for view, each in zip(views, seen, strict=True):
        assert each.shape == volume.shape
        assert torch.equal(view.apply(each, axes), volume)
        assert torch.equal(view.invert(each, axes), volume)


def test_sets_of_views():
    assert views_of(None, 2) == views_of('dihedral', 2) == dihedral_views()
    assert views_of('flips', 2) == flip_views(2)
    assert views_of(None, 3) == views_of('flips', 3) == flip_views(3)
    with pytest.raises(ValueError, match="use views='flips' for volumes"):
        views_of('dihedral', 3)


def test_flipped_axes_are_those_of_the_image():
    assert View(False, (0,)).flipped_axes() == (True, False)
    # Rows of a transposed image are columns of the image.
    assert View(True, (0,)).flipped_axes() == (False, True)


def test_lengths_and_offsets_by_hand():
    floor, exact = Shrink(0.8), Shrink(0.8, 'exact')
    assert [floor.length(n) for n in (10, 43, 58, 1)] == [8, 34, 46, 1]
    assert floor.length(5) == 4 and Shrink(0.5).length(5) == 2  # halves to the even number
    assert floor.offset(43) == 4 and floor.offset(43, flipped=True) == 5
    assert [exact.length(n) for n in (10, 43, 58, 2, 1)] == [8, 35, 46, 2, 1]
    assert exact.offset(43) == exact.offset(43, flipped=True) == 4
    for length in range(1, 50):
        for factor in (0.01, 0.3, 0.8, 1.0):
            shrink = Shrink(factor, 'exact')
            assert 1 <= shrink.length(length) <= length
            assert (length - shrink.length(length)) % 2 == 0


def test_canvas_by_hand():
    shrink = Shrink(0.5)
    image = np.full((4, 6), 200, np.uint8)
    content = shrink.content(image)
    canvas = shrink.canvas(content, (4, 6), shrink.offset(4), shrink.offset(6))
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 1:4] = 200
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize('size', [(43, 58), (36, 61), (37, 45), (40, 40), (2, 3)])
@pytest.mark.parametrize('centre', ['floor', 'exact'])
@pytest.mark.parametrize('factor', [0.8, 0.55, 1.0])
def test_undoing_is_pillow_s_resizing(size, centre, factor):
    shrink = Shrink(factor, centre)
    maps = np.random.default_rng(0).random(size, np.float32)
    stack = torch.from_numpy(maps).expand(2, *size)
    for flipped in ((False, False), (True, False), (False, True), (True, True)):
        view = View(False, tuple(axis for axis in (0, 1) if flipped[axis]))
        expected = view.invert(shrink.undo_plain(view.apply(maps, (0, 1))), (0, 1))
        for undone in shrink.undo(stack, flipped):
            np.testing.assert_allclose(undone, expected, rtol=0, atol=3e-7)
    if factor == 1.0:
        np.testing.assert_array_equal(shrink.undo(stack)[0], maps)


@pytest.mark.parametrize('size', [(43, 58), (36, 61), (37, 45), (40, 40), (101, 150)])
@pytest.mark.parametrize('shrink', [None, Shrink(0.8), Shrink(0.8, 'exact')])
def test_views_are_flips_of_their_bases(size, shrink):
    """Bit by bit, and still so after the network's resizing."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    plan = ImageViews(dihedral_views(), size, shrink)
    bases, plain = list(plan.bases(image)), list(plan.plain(image))
    np.testing.assert_array_equal(bases[0], image)
    assert len(plan) == len(plain) == (8 if shrink is None else 16)
    # Two of the image, and for each a canvas per offset that occurs.
    even = [(length - (shrink or Shrink(1)).length(length)) % 2 == 0 for length in size]
    offsets = 0 if shrink is None else (2 - even[0]) * (2 - even[1])
    assert len(bases) == 2 + 2 * offsets <= 10

    def resized(array):
        image = Image.fromarray(np.ascontiguousarray(array))
        return np.array(image.resize((32, 24), Image.Resampling.BICUBIC))

    for member, expected in zip(plan.members, plain, strict=True):
        flips = View(False, member.view.flips)
        assert expected.shape[:2] == plan.shape_of(member)
        np.testing.assert_array_equal(flips.apply(bases[member.base], (0, 1)), expected)
        small = flips.apply(resized(bases[member.base]), (0, 1))
        np.testing.assert_array_equal(small, resized(expected))


def test_what_is_refused():
    for factor in (0, 1.5, -1):
        with pytest.raises(ValueError, match=r'shrink must be in \(0, 1\]'):
            Shrink(factor)
    with pytest.raises(ValueError, match="centre must be 'floor' or 'exact', got 'middle'"):
        Shrink(0.5, 'middle')
