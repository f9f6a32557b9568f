import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmjoint.functional.sliding_window import (
    labels_and_entropy,
    sliding_window_inference,
    window_starts,
)

from .loader import assert_close, reference

TOLERANCE = 1e-6
# Volumes whose size the name of the array does not tell, and the window of each data set.
VOLUMES = {'syn': (80, 160, 160), 'mmwhs': (144, 144, 144), 'mnms': (32, 144, 144)}
WINDOWS = {
    'syn': (64, 128, 128),
    'mmwhs': (128, 128, 128),
    'mnms': (32, 128, 128),
    'la': (112, 112, 80),
}
# Strides along axis 0 and along the other two, one pair for each column.
SPEEDS = ((4, 16), (16, 64), (32, 128))


def stub(num_classes):
    """The network that the vectors were made with: a ramp along two axes and the image."""
    image, last, first = (
        torch.linspace(*ends, num_classes) for ends in ((-2, 2.5), (1, -1.5), (-0.7, 0.9))
    )

    def predictor(windows):
        dims = windows.dim() - 2
        ramp_last = torch.linspace(0, 1, windows.shape[-1])
        ramp_first = torch.linspace(0, 1, windows.shape[2]).view(-1, *[1] * (dims - 1))
        a, b, c = (each.view(1, -1, *[1] * dims) for each in (image, last, first))
        return a * windows + b * ramp_last + c * ramp_first

    return predictor


def padded(image, patch):
    """What the original puts around an image of which an axis is too short.

    Its 2-D code pads an axis as long as the window as well, its 3-D code does not.
    """
    sizes = list(zip(image.shape, patch, strict=True))
    if not any(n < p if image.ndim == 3 else n <= p for n, p in sizes):
        return torch.from_numpy(image)
    before = [max((p - n) // 2 + 1, 0) for n, p in sizes]
    return F.pad(torch.from_numpy(image), [n for n in reversed(before) for _ in range(2)])


def case_names(arrays):
    return sorted(m[1] for name in arrays if (m := re.fullmatch(r'(.+)_image', name)))


def test_scores_and_labels():
    arrays = reference('generic_ssl', 'sliding_window')
    predictor = stub(int(arrays['num_classes']))
    assert case_names(arrays)
    for case in case_names(arrays):
        image, patch = arrays[f'{case}_image'], arrays[f'{case}_patch'].tolist()
        if f'{case}_stride' in arrays:
            stride = int(arrays[f'{case}_stride'])
        else:
            others, first = arrays[f'{case}_stride_xy_z'].tolist()
            stride = (first, others, others)
        inputs = padded(image, patch)[None, None]
        score = sliding_window_inference(inputs, predictor, patch, stride=stride)
        if f'{case}_score' in arrays:
            assert_close(score[0], arrays[f'{case}_score'], TOLERANCE, case)
        # Where two classes are level up to rounding, either may be the larger one.
        highest = score[0].topk(2, dim=0).values
        clear = (highest[0] - highest[1] > TOLERANCE).numpy()
        assert clear.mean() > 0.99
        label = arrays[f'{case}_label']
        np.testing.assert_array_equal(score[0].argmax(0).numpy()[clear], label[clear], case)
        for window_batch in (1, 7):
            reduced = sliding_window_inference(
                inputs,
                predictor,
                patch,
                stride=stride,
                window_batch=window_batch,
                reduction=labels_and_entropy,
            )
            labels = reduced['labels'][0, 0].numpy()
            np.testing.assert_array_equal(labels[clear], label[clear], case)


def test_number_of_windows():
    arrays = reference('generic_ssl', 'sliding_window')
    names = [name for name in arrays if name.startswith('window_counts_')]
    if not names:
        pytest.skip('no window counts among the reference vectors')
    for name in names:
        rows = name.removeprefix('window_counts_').split('_')
        for row, expected in zip(rows, arrays[name].tolist(), strict=True):
            kind, size = re.fullmatch(r'([a-z]+?)((?:\d+x)*\d+)?', row).groups()
            volume = VOLUMES[kind] if size is None else tuple(map(int, size.split('x')))
            for (first, others), count in zip(SPEEDS, expected, strict=True):
                axes = zip(volume, WINDOWS[kind], (first, others, others), strict=True)
                assert np.prod([len(window_starts(*axis)) for axis in axes]) == count, row
