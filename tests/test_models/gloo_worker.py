"""One of two processes that train a joint model where only one has labels, or none has."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.test_models.test_joint.test_encoder_heads import config  # noqa: E402 (path first)
from tests.test_models.tiny import build, make_samples, uml_config, unlabelled  # noqa: E402


def train(cfg, rank):
    torch.manual_seed(0)
    # No search for unused parameters: a skipped head would make the second step fail.
    model = MMDistributedDataParallel(build(cfg), find_unused_parameters=False)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    logs = []
    for labelled in ({0}, set(), {0, 1}):
        samples = make_samples(2, (32, 32)) if rank in labelled else unlabelled(2, (32, 32))
        images = [torch.full((3, 32, 32), 40 * i + 90 * rank, dtype=torch.uint8) for i in (0, 1)]
        log = model.train_step({'inputs': images, 'data_samples': samples}, wrapper)
        logs.append(log['loss'].item())
    flat = torch.cat([value.detach().reshape(-1) for value in model.parameters()])
    gathered = [torch.empty_like(flat) for _ in range(2)]
    dist.all_gather(gathered, flat)
    assert torch.equal(*gathered), 'the processes drifted apart'
    assert torch.isfinite(flat).all()
    return logs


def main(rank, store):
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    for name, cfg in (
        ('JointModel', config()),
        ('UML', uml_config('UML')),
        ('UMLPaper', uml_config('UMLPaper')),
    ):
        print(name, *train(cfg, rank))
    dist.destroy_process_group()


if __name__ == '__main__':
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2])
