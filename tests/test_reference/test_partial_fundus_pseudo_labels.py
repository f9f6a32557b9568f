import numpy as np
import pytest
import torch
from PIL import Image

from mmjoint.functional.task_labels import labels_from_probs
from mmjoint.utils.index_png import voc_palette, write_index_png

from .loader import reference
from .test_partial_fundus_metrics import TASKS

# The original's modes, which go by the data set, and the task that each of them writes.
MODES = dict(refuge='odoc', ddr='lesion', idrid='vessel')


@pytest.mark.parametrize('mode', MODES)
def test_written_maps(mode, tmp_path):
    arrays = reference('partial_fundus', 'pseudo_labels')
    task = MODES[mode]
    labels = labels_from_probs(arrays.tensor(task, torch.float32), TASKS[task]).numpy()
    np.testing.assert_array_equal(labels, arrays[f'png_{mode}'])
    write_index_png(tmp_path / 'map.png', labels)
    with Image.open(tmp_path / 'map.png') as image:
        assert image.mode == 'P'
        np.testing.assert_array_equal(np.array(image), arrays[f'png_{mode}'])
        colours = np.array(image.convert('RGB'))
    expected = arrays['png_palette8']
    np.testing.assert_array_equal(voc_palette(len(expected)), expected)
    np.testing.assert_array_equal(colours, expected[arrays[f'png_{mode}']])
