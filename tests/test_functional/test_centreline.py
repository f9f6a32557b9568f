import numpy as np
import pytest

from mmjoint.functional.centreline import centreline_counts, cl_dice_from_counts


def bar(rows, columns, shape=(15, 40)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def test_bars_by_hand():
    # The thin line is its own skeleton; the thick bar's runs in its middle row, but at its ends.
    thin, thick = bar(7, slice(5, 35)), bar(slice(6, 9), slice(5, 35))
    hit, length, thin_hit, thin_length = centreline_counts(thick, thin)
    assert 26 <= length <= 30 and length - 2 <= hit <= length and thin_hit == thin_length == 30
    share = hit / length
    expected = pytest.approx(2 * share / (share + 1))
    assert cl_dice_from_counts(centreline_counts(thick, thin)) == expected
    # Half of the line found: precision 1, sensitivity 15/30.
    counts = centreline_counts(bar(7, slice(5, 20)), thin)
    assert counts.tolist() == [15, 15, 15, 30]
    assert cl_dice_from_counts(counts) == pytest.approx(2 * 0.5 / 1.5)
    # Beside it.
    assert cl_dice_from_counts(centreline_counts(bar(2, slice(5, 35)), thin)) == 0


def test_a_thick_border_changes_dice_but_not_cldice():
    thin, thick = bar(7, slice(5, 35)), bar(slice(5, 10), slice(5, 35))
    assert 2 * np.sum(thin & thick) / (thin.sum() + thick.sum()) < 0.4
    assert cl_dice_from_counts(centreline_counts(thick, thin)) > 0.95


def test_only_the_skeleton_within_counts_and_is_not_cut_before():
    thick = bar(slice(5, 10), slice(0, 40))
    within = bar(slice(None), slice(0, 20))
    counts = centreline_counts(thick, thick, within)
    whole = centreline_counts(thick, thick)
    assert counts[0] < whole[0]
    left = centreline_counts(thick, thick, ~within)
    assert (counts + left == whole).all()


def test_empty_masks():
    line, nothing = bar(7, slice(5, 35)), np.zeros((15, 40), bool)
    assert cl_dice_from_counts(centreline_counts(line, nothing)) == 0
    assert cl_dice_from_counts(centreline_counts(nothing, line)) == 0
    assert np.isnan(cl_dice_from_counts(centreline_counts(nothing, nothing)))
    stacked = cl_dice_from_counts(np.array([[0, 0, 0, 0], [2, 4, 3, 3]]))
    assert np.isnan(stacked[0]) and stacked[1] == pytest.approx(2 / 3)


def test_other_shapes():
    with pytest.raises(ValueError, match='one shape'):
        centreline_counts(np.zeros((4, 4)), np.zeros((4, 5)))
    volume = np.zeros((7, 9, 20), bool)
    volume[2:5, 3:6, 2:18] = True
    assert cl_dice_from_counts(centreline_counts(volume, volume)) == 1
