import numpy as np
import pytest
from scipy import ndimage

from mmjoint.phantoms.chest_xray import CAMERAS, draw_anatomy, render_chest_xray
from mmjoint.phantoms.common import case_rng

SHAPE = (96, 112)
KINDS = (None, 'bacteria', 'virus')


def render(key, kind=None, camera='kermany', child=True, **options):
    rng = case_rng(5, key)
    body = draw_anatomy(rng, child)
    return render_chest_xray(rng, SHAPE, body, CAMERAS[camera], pneumonia=kind, **options)


@pytest.fixture(scope='module')
def phantoms():
    """Four photographs of each kind by each camera."""
    return {
        (camera, kind): [render(index, kind, camera, camera == 'kermany') for index in range(4)]
        for camera in CAMERAS
        for kind in KINDS
    }


def everything(phantoms):
    return [phantom for row in phantoms.values() for phantom in row]


def test_same_generator_state_gives_the_same_photograph():
    first, again, other = (render(key, 'virus') for key in (0, 0, 1))
    for name in ('image', 'right_lung', 'left_lung', 'heart', 'opacity'):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


def test_images_and_masks(phantoms):
    for phantom in everything(phantoms):
        assert phantom.image.shape == SHAPE and phantom.image.dtype == np.float32
        assert phantom.image.min() >= 0 and phantom.image.max() <= 1
        assert phantom.image.std() > 0.02
        for mask in (phantom.right_lung, phantom.left_lung):
            assert mask.shape == SHAPE and mask.dtype == bool
            assert ndimage.label(mask)[1] == 1
            assert 0.04 < mask.mean() < 0.3
        assert phantom.heart.any()
        assert phantom.right_clavicle.any() and phantom.left_clavicle.any()


def test_the_patients_right_lung_is_left_in_the_image_and_no_lung_is_in_both(phantoms):
    for phantom in everything(phantoms):
        right, left = (np.nonzero(m)[1] for m in (phantom.right_lung, phantom.left_lung))
        assert right.max() < left.min()


def test_the_heart_is_between_the_lungs_and_takes_room_from_the_left_one(phantoms):
    smaller = []
    for phantom in everything(phantoms):
        assert (phantom.heart & phantom.lungs).sum() < 0.15 * phantom.heart.sum()
        smaller.append(phantom.left_lung.sum() < phantom.right_lung.sum())
    assert np.mean(smaller) > 0.7


def test_lungs_are_darker_than_what_is_between_them(phantoms):
    for phantom in everything(phantoms):
        inner = ndimage.binary_erosion(phantom.heart & ~phantom.lungs, iterations=2)
        assert np.median(phantom.image[phantom.lungs]) < np.median(phantom.image[inner])


def test_opacity_lies_inside_the_lungs_and_only_with_pneumonia(phantoms):
    for (_, kind), row in phantoms.items():
        for phantom in row:
            assert not (phantom.opacity & ~phantom.lungs).any()
            assert phantom.opacity.any() == (kind is not None)
            assert (phantom.opacity_strength > 0) == (kind is not None)
            assert phantom.opacity.sum() < 0.9 * phantom.lungs.sum()


@pytest.mark.parametrize('kind', KINDS[1:])
def test_pneumonia_brightens_the_lung_where_it_is_and_nothing_elsewhere(kind):
    # No noise and one exposure: the same patient in the same position, with and without.
    camera = CAMERAS['jsrt']
    camera = type(camera)(**{**vars(camera), 'noise': (0.0, 0.0), 'notches': 0.0})
    fixed = {'gamma': (1, 1), 'black': (0, 0), 'white': (1, 1), 'saturation': (1, 1)}
    camera = type(camera)(**{**vars(camera), **fixed})
    for key in range(4):
        body = draw_anatomy(case_rng(6, key))
        with_it, without = (
            render_chest_xray(case_rng(7, key), SHAPE, body, camera, pneumonia=p)
            for p in (kind, None)
        )
        # What is drawn behind the opacity differs (a tilt of the exposure of 10 % at most).
        more = with_it.image - without.image
        outside = np.abs(more[~ndimage.binary_dilation(with_it.lungs, iterations=3)])
        assert more[with_it.opacity].mean() > 0.02
        assert more[with_it.opacity].mean() > outside.mean()


def test_bacteria_make_one_or_two_regions_and_viruses_reach_both_lungs(phantoms):
    def both(phantom):
        sides = [(phantom.opacity & m).sum() for m in (phantom.right_lung, phantom.left_lung)]
        return min(sides) > 0.05 * max(sides)

    shares = {
        kind: np.mean([both(p) for (_, k), row in phantoms.items() for p in row if k == kind])
        for kind in KINDS[1:]
    }
    assert shares['virus'] > 0.7 and shares['bacteria'] < 0.4


def test_images_of_a_patient_share_the_anatomy_but_not_the_position():
    body = draw_anatomy(case_rng(0, 0))
    one, two, other = (
        render_chest_xray(case_rng(1, key), SHAPE, patient, CAMERAS['montgomery'])
        for key, patient in ((0, body), (1, body), (0, draw_anatomy(case_rng(0, 1))))
    )
    assert not np.array_equal(one.image, two.image)
    assert not np.array_equal(one.lungs, two.lungs)
    assert not np.array_equal(one.lungs, other.lungs)


def test_nodules_are_small_and_inside():
    for key in range(5):
        phantom = render(key, None, 'jsrt', False, nodule=True)
        assert 0 < phantom.opacity.sum() < 0.05 * phantom.lungs.sum()
        assert not (phantom.opacity & ~phantom.lungs).any()


def test_cameras_differ_in_brightness_contrast_and_noise(phantoms):
    def noise(image):
        return np.median(np.abs(image - ndimage.median_filter(image, 3)))

    grey = {
        camera: np.mean([np.median(p.image[p.lungs]) for p in phantoms[camera, None]])
        for camera in CAMERAS
    }
    grain = {
        camera: np.mean([noise(p.image) for p in phantoms[camera, None]]) for camera in CAMERAS
    }
    assert grey['jsrt'] > grey['montgomery'] + 0.2
    assert grain['montgomery'] > 1.5 * grain['jsrt']


def test_borders_hide_no_lung(phantoms):
    for phantom in phantoms['montgomery', None]:
        assert np.mean(phantom.image[phantom.lungs] < 0.03) < 0.5 * np.mean(phantom.image < 0.03)
