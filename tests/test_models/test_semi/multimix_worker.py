"""One of two processes that train MultiMix, each on half of every batch."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.test_models.test_semi.test_multimix import batch, make  # noqa: E402 (path first)
from tests.test_reference.multimix_model import without_dropout  # noqa: E402


def train(model, part):
    """Two steps on a part of each batch."""
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    for seed in range(2):
        inputs, samples = batch(seed=seed, number=4)
        inputs = {branch: list(images.double()[part]) for branch, images in inputs.items()}
        samples = {branch: found[part] for branch, found in samples.items()}
        model.train_step({'inputs': inputs, 'data_samples': samples}, wrapper)
    return [value.detach() for value in model.parameters()]


def new():
    model = without_dropout(make(kl='bernoulli')).double()
    model.data_preprocessor = Stack()
    return model


class Stack(torch.nn.Module):
    """A preprocessor that keeps double precision."""

    def forward(self, data, training=False):
        data['inputs'] = {key: torch.stack(value) for key, value in data['inputs'].items()}
        return data


def main(rank, store):
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    model = MMDistributedDataParallel(new(), find_unused_parameters=False)
    found = train(model, slice(2 * rank, 2 * rank + 2))
    for value, expected in zip(found, train(new(), slice(None)), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    dist.destroy_process_group()


if __name__ == '__main__':
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2])
