"""Crop, padding and label maps of fundus photographs as the original prepares them."""

import re

import cv2
import numpy as np

from mmjoint.functional.fundus_frame import to_raw_frame
from mmjoint.utils.image_frame import ImageFrame
from mmjoint.utils.index_png import read_index_png, voc_palette, write_index_png

from ..test_prepare_dataset.scripts import fundus_maps, reading
from .loader import reference

METHOD = 'partial_fundus'
THRESHOLD = 20  # of the published crop, and our scripts' default


def load():
    return reference(METHOD, 'prepare')


def numbers(arrays, pattern):
    return sorted(int(match[1]) for name in arrays if (match := re.fullmatch(pattern, name)))


def depends_on_order(image, threshold):
    """Whether no region is both the widest and the tallest: then the original's rule is a draw."""
    bright = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) > threshold).astype(np.uint8)
    grown = cv2.dilate(bright, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    sizes = np.array([cv2.boundingRect(contour)[2:] for contour in contours])
    return len(sizes) == 0 or not (sizes == sizes.max(axis=0)).all(axis=1).any()


def test_boxes_of_the_field_of_view():
    arrays = load()
    checked = 0
    for image, threshold, keep_square, *box in arrays['bounds'].tolist():
        photograph = arrays[f'img{image}']
        if not depends_on_order(photograph, threshold):
            found = fundus_maps.fov_box(photograph, threshold, keep_square=bool(keep_square))
            assert found == tuple(box), (image, threshold, keep_square)
            checked += 1
    assert checked > len(arrays['bounds']) / 2


def test_box_is_that_of_the_largest_region():
    """Where the original takes a streak."""
    arrays = load()
    for image, threshold, keep_square, *_ in arrays['bounds'].tolist():
        photograph = arrays[f'img{image}']
        if not keep_square and depends_on_order(photograph, threshold):
            _, _, width, height = fundus_maps.fov_box(photograph, threshold)
            assert min(width, height) > min(photograph.shape[:2]) / 3


def test_crop_and_padding(tmp_path):
    arrays = load()
    log = {row[0]: row[1:] for row in arrays['crop_log'].tolist()}
    images = numbers(arrays, r'img(\d+)')
    assert images and set(images) == set(log)
    for image in images:
        photograph, labels = arrays[f'img{image}_jpg'], arrays[f'lab{image}']
        # The raw files were JPEG of the best quality; another build of libjpeg may round otherwise.
        path = tmp_path / 'image.jpg'
        cv2.imwrite(str(path), arrays[f'img{image}'], [cv2.IMWRITE_JPEG_QUALITY, 100])
        assert np.abs(reading.read_image(path).astype(int) - photograph).max() <= 3

        above, below, left, right, *shape = log[image]
        assert tuple(shape) == labels.shape
        box = (left, above, shape[1] - left - right, shape[0] - above - below)
        if not depends_on_order(photograph, THRESHOLD):
            assert fundus_maps.fov_box(photograph, THRESHOLD) == box, image
        cropped = ImageFrame(box).apply(labels)
        assert np.array_equal(cropped, arrays[f'lab{image}_crop'])
        frame = ImageFrame.square(box)
        padded = frame.apply(labels)
        assert np.array_equal(padded, arrays[f'lab{image}_pad'])
        assert frame.apply(photograph).shape == tuple(arrays[f'img{image}_pad_shape'])

        inside = np.zeros(labels.shape, bool)
        inside[above : shape[0] - below, left : shape[1] - right] = True
        back = to_raw_frame(padded, frame.to_dict(), labels.shape)
        assert np.array_equal(back, np.where(inside, labels, 0))


def test_label_maps(tmp_path):
    arrays = load()
    masks = dict(zip(fundus_maps.LESIONS, arrays['lesion_masks'], strict=True))
    lesions = fundus_maps.lesion_ids(masks, arrays['lesion_ann'].shape)
    assert np.array_equal(lesions, arrays['lesion_ann'])
    assert np.array_equal(fundus_maps.vessel_ids(arrays['reta_raw']), arrays['reta_ann'])
    optic = fundus_maps.optic_ids(arrays['refuge_raw'])
    assert np.array_equal(optic, arrays['refuge_ann'])

    palette = next(name for name in arrays if name.startswith('palette'))
    expected = arrays[palette]
    assert len(expected) == int(palette.removeprefix('palette'))
    assert np.array_equal(voc_palette(len(expected)), expected)
    # The original's mistake of reading its own files as grey pictures; ours are read as numbers.
    write_index_png(tmp_path / 'ids.png', optic)
    grey = cv2.imread(str(tmp_path / 'ids.png'), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(grey, arrays['refuge_ann_read_as_grey'])
    assert np.array_equal(read_index_png(tmp_path / 'ids.png'), optic)
