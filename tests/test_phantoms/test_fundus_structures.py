import cv2
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score

from mmjoint.phantoms.common import case_rng
from mmjoint.phantoms.fundus_structures import LESIONS, LOOKS, render_structures

SHAPE = (128, 160)


@pytest.fixture(scope='module')
def ill():
    """Fourteen photographs with lesions, by two cameras."""
    looks = ('idrid', 'ddr_canon')
    return [render_structures(case_rng(5, n), SHAPE, looks[n % 2], ill=True) for n in range(14)]


def test_same_generator_state_gives_the_same_photograph():
    first, again, other = (
        render_structures(case_rng(1, key), (60, 64), 'stare', ill=True) for key in (0, 0, 1)
    )
    assert np.array_equal(first.image, again.image)
    for task, ids in first.truth.items():
        assert np.array_equal(ids, again.truth[task])
    assert not np.array_equal(first.image, other.image)


def test_label_maps_hold_the_numbers_of_their_tasks(ill):
    for phantom in ill:
        truth = phantom.truth
        assert list(truth) == ['vessel', 'lesion', 'odoc']
        assert all(ids.dtype == np.uint8 and ids.shape == SHAPE for ids in truth.values())
        assert set(np.unique(truth['vessel'])) == {0, 1}
        assert set(np.unique(truth['lesion'])) <= {0, 1, 2, 3, 4} and truth['lesion'].any()
        assert set(np.unique(truth['odoc'])) == {0, 1, 2}
        assert not any(ids[~phantom.fov].any() for ids in truth.values())
    kinds = np.unique(np.concatenate([phantom.lesion.ravel() for phantom in ill]))
    assert kinds.tolist() == [0, 1, 2, 3, 4]


def test_where_lesions_overlap_the_later_one_counts(ill):
    for phantom in ill:
        ids = np.zeros(SHAPE, int)
        for number, kind in enumerate(LESIONS, 1):
            ids = np.where(phantom.lesion_masks[kind], number, ids)
        assert np.array_equal(phantom.lesion, ids)


def test_kinds_differ_in_size_number_and_frequency(ill):
    sizes, numbers, shares = {}, {}, {}
    for kind in LESIONS:
        masks = [phantom.lesion_masks[kind].astype(np.uint8) for phantom in ill]
        stats = [cv2.connectedComponentsWithStats(mask)[2][1:, 4] for mask in masks]
        present = [areas for areas in stats if len(areas)]
        sizes[kind] = np.median(np.concatenate(present))
        numbers[kind] = np.mean([len(areas) for areas in present])
        shares[kind] = len(present) / len(ill)
    assert sizes['MA'] < sizes['HE'] < sizes['SE'] and sizes['MA'] < sizes['EX']
    assert numbers['SE'] < numbers['HE'] < numbers['MA']
    assert shares['SE'] < shares['EX'] and shares['SE'] < shares['MA']
    total = {kind: sum(p.lesion_masks[kind].sum() for p in ill) for kind in LESIONS}
    assert max(total['SE'], total['MA']) < min(total['EX'], total['HE'])


def contrast(phantom, inside):
    """Green of a structure less that of its surround."""
    green = phantom.image[..., 1].astype(float)
    inside = inside & (phantom.odoc == 0)
    around = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    around &= ~inside & phantom.fov & (phantom.vessel == 0) & (phantom.lesion == 0)
    return green[inside].mean() - green[around & (phantom.odoc == 0)].mean()


def test_structures_can_be_seen(ill):
    for phantom in ill:
        assert contrast(phantom, (phantom.vessel > 0) & (phantom.lesion == 0)) < -8
        for number, sign in ((1, 1), (2, -1), (3, 1), (4, -1)):
            inside = (phantom.lesion == number) & (phantom.vessel == 0)
            if inside.sum() >= 4:
                assert sign * contrast(phantom, inside) > 4, LESIONS[number - 1]
        green = phantom.image[..., 1]
        clear = (phantom.vessel == 0) & (phantom.lesion == 0)
        assert green[(phantom.odoc == 2) & clear].mean() > green[(phantom.odoc == 1) & clear].mean()


def test_vessels_come_from_the_disc_and_reach_far(ill):
    for phantom in ill:
        _, parts = cv2.connectedComponents(phantom.vessel)
        main = np.bincount(parts[parts > 0]).argmax()
        assert (parts == main)[phantom.odoc > 0].any()
        rows, columns = np.nonzero(parts == main)
        assert np.ptp(rows) > 0.55 * SHAPE[0] and np.ptp(columns) > 0.4 * SHAPE[0]
        assert 0.06 < phantom.vessel.sum() / phantom.fov.sum() < 0.25


def test_lesions_keep_off_the_disc_and_healthy_eyes_have_none(ill):
    assert np.mean([(p.lesion > 0)[p.odoc > 0].mean() for p in ill]) < 0.02
    healthy = [render_structures(case_rng(6, n), (64, 80), 'idrid', ill=False) for n in range(4)]
    assert not any(phantom.lesion.any() for phantom in healthy)


def test_glaucoma_has_larger_cups():
    ratios = [
        [
            render_structures(case_rng(7, n), SHAPE, 'zeiss', glaucoma=g).vertical_cdr
            for n in range(5)
        ]
        for g in (False, True)
    ]
    assert max(ratios[0]) < 0.64 and min(ratios[1]) > 0.5
    assert np.mean(ratios[1]) > np.mean(ratios[0]) + 0.15


@pytest.mark.parametrize('look', LOOKS)
def test_every_look_draws_tiny_images(look):
    phantom = render_structures(case_rng(2), (16, 18), look)
    assert phantom.image.shape == (16, 18, 3) and phantom.fov.any()


def test_sets_differ_in_colour_sharpness_and_field_of_view():
    def measures(look):
        values = []
        for n in range(6):
            phantom = render_structures(case_rng(3, n), SHAPE, look)
            image = phantom.image[phantom.fov].astype(float)
            edges = cv2.Laplacian(cv2.GaussianBlur(phantom.image, (0, 0), 1), cv2.CV_64F)
            share = phantom.fov.mean()
            red, green, blue = image.mean(axis=0)
            values.append([red, green / red, blue / red, edges[phantom.fov].std(), share])
        return np.mean(values, axis=0)

    found = {look: measures(look) for look in ('idrid', 'zeiss', 'drive', 'stare', 'aria')}
    assert found['aria'][0] < found['drive'][0] - 10 < found['idrid'][0] - 10
    assert found['stare'][1] > found['idrid'][1] + 0.1
    assert found['idrid'][2] < found['drive'][2] - 0.1
    assert found['stare'][3] < 0.8 * found['idrid'][3]
    assert found['drive'][4] < found['zeiss'][4] < found['idrid'][4] + 0.1


def pixels(look, count, seed):
    """Colours around each pixel of the field of view, the lesion there, and the eye's number."""
    features, labels, eyes = [], [], []
    for number in range(count):
        phantom = render_structures(case_rng(seed, number), (112, 150), look, ill=True)
        image = phantom.image.astype(np.float32) / 255
        ground = cv2.GaussianBlur(image, (0, 0), 8)
        maps = [image, image - ground]
        for width in (1, 2, 4):
            unsharp = cv2.GaussianBlur(image, (0, 0), width)
            maps += [unsharp - ground, cv2.Laplacian(unsharp, cv2.CV_32F)[..., 1:2]]
        features.append(np.concatenate(maps, 2)[phantom.fov])
        labels.append(phantom.lesion[phantom.fov])
        eyes.append(np.full(len(labels[-1]), number))
    return np.concatenate(features), np.concatenate(labels), np.concatenate(eyes)


@pytest.mark.slow
def test_few_eyes_teach_less_than_many():
    """Of lesions, to a classifier of single pixels; and less of another camera's photographs."""
    features, labels, eyes = pixels('ddr_canon', 32, 1)
    tests = {look: pixels(look, 10, 2) for look in ('ddr_canon', 'idrid')}
    found = {}
    for count in (3, 32):
        chosen = np.flatnonzero(eyes < count)
        some = np.random.default_rng(0).choice(chosen, min(len(chosen), 25000), replace=False)
        chosen = np.concatenate([chosen[labels[chosen] > 0], some])
        model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
        model.fit(features[chosen], labels[chosen])
        for look, (inputs, truth, _) in tests.items():
            probs = model.predict_proba(inputs)
            found[count, look] = [
                average_precision_score(truth == number, probs[:, number]) for number in range(1, 5)
            ]
    for look in tests:
        assert all(few < many for few, many in zip(found[3, look], found[32, look], strict=True))
        assert np.mean(found[3, look]) < np.mean(found[32, look]) - 0.1
    assert np.mean(found[32, 'idrid']) < np.mean(found[32, 'ddr_canon'])
