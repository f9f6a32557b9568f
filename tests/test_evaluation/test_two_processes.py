import json

import pytest
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData

from .gloo_worker import grouped_metrics, run, work
from .test_evaluator import samples

NUMBER = 5  # odd: one rank repeats a sample, which must be cut off


def all_samples():
    of = samples(NUMBER)
    for index, sample in enumerate(of):
        sample.set_metainfo(dict(patient_id=f'p{index // 2}', slice=index))
        sample.pred_tasks = PixelData(odoc=sample.seg_logits.data[:2].sigmoid())
        if index != 2:  # of which the task has no labels
            sample.gt_tasks = PixelData(odoc=sample.gt_sem_seg.data)
    del of[3].gt_label  # unlabelled for one of the tasks
    return [sample.to_dict() for sample in of]


def test_two_gloo_processes_give_what_one_gives(tmp_path):
    of = all_samples()
    expected = run(Evaluator(grouped_metrics()), of, NUMBER)
    assert expected['grouped/num_cases'] == 3
    assert expected['cls/num_samples'] == 4
    assert expected['cls/num_unlabelled'] == expected['odoc/num_unlabelled'] == 1
    filled_up = [*of, of[0]]  # as mmengine's DefaultSampler does
    mp.spawn(work, (str(tmp_path), filled_up, NUMBER), nprocs=2)
    for rank in range(2):
        results, error = json.loads((tmp_path / f'rank{rank}.json').read_text())
        assert list(results) == list(expected)
        assert results == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert 'expected samples with gt_label, found none in 2 samples' in error
