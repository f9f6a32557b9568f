import json
from concurrent.futures import Future

import pytest

from mmjoint.apis import window_benchmark
from mmjoint.utils.errors import UserError
from tools.analysis_tools.benchmark_sliding_window import main

FORMS = ('monai', 'whole', 'bounded')
TINY = '--shape 20 18 16 --roi 8 10 16 --classes 5 --iters 2'.split()


class InThisProcess:
    """In place of a pool of processes, whose start takes seconds."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future


def check(result, forms=FORMS):
    assert tuple(result['forms']) == forms
    for form, figures in result['forms'].items():
        assert 0 < figures['seconds_min'] <= figures['seconds'] <= figures['seconds_max'], form
        assert figures['cpu_seconds'] > 0 and figures['memory_mib']['peak_rss'] > 0
        assert figures['equal_labels'] > 0.999
        assert figures['entropy_difference'] < 1e-5


@pytest.mark.parametrize(
    'options',
    [
        [],
        ['--average', 'probs', '--weights', 'uniform', '--window-batch', '3', '--kernel', '3'],
        ['--shape', '20', '18', '--roi', '8', '9'],
    ],
)
def test_all_forms_give_the_same(monkeypatch, tmp_path, capsys, options):
    monkeypatch.setattr(window_benchmark, 'ProcessPoolExecutor', InThisProcess)
    out = tmp_path / 'result.json'
    main([*TINY, *options, '--out', str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    check(result)
    assert result['num_classes'] == 5
    assert result['machine']['monai']


def test_a_wrong_result_is_seen(monkeypatch):
    monkeypatch.setattr(window_benchmark, 'ProcessPoolExecutor', InThisProcess)
    form = window_benchmark._form

    def spoilt(name, options):
        infer = form(name, options)
        if name == 'whole':
            return infer
        return lambda volume, network: infer(volume.flip(-1), network)

    monkeypatch.setattr(window_benchmark, '_form', spoilt)
    options = window_benchmark.WindowBenchmarkOptions(
        shape=(12, 12), roi_size=(8, 8), iters=1, forms=('whole', 'bounded')
    )
    figures = window_benchmark.run_window_benchmark(options)['forms']
    assert figures['whole']['equal_labels'] == 1
    assert figures['bounded']['equal_labels'] < 0.9


@pytest.mark.slow
def test_in_processes_of_their_own(capsys):
    main([*TINY, '--threads', '1'])
    check(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--shape', '20', '18'], r'--shape, --roi: expected .* found \[20, 18\], \[8, 10, 16\]'),
        (['--shape', '9', '--roi', '9'], 'expected 2 or 3 numbers'),
    ],
)
def test_errors(options, text):
    with pytest.raises(UserError, match=text):
        main([*TINY, *options])
