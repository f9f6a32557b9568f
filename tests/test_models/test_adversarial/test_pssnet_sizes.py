"""Numbers of parameters of the published size."""

import pytest
from mmengine.config import Config

from ..tiny import CONFIGS, build


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.slow
def test_published_sizes():
    """Of the original's attention we build what it uses; see the tests of the attention."""
    cfg = Config.fromfile(CONFIGS / '_base_' / 'models' / 'pssnet-adversarial_swin-t.py')
    model = build(cfg.model)
    generator = model.generator
    attention = count(generator.decode_head.attention)
    assert count(generator.backbone) == 27_520_698
    assert count(generator.decode_head) - attention == 8_968_071
    assert count(generator.auxiliary_head) == 1_328_775
    assert count(generator) - attention == 37_817_544
    assert attention == 1_247_256 - 1_011_860 - 256
    for critics in (model.critics, model.aux_critics):
        assert [count(critics[task]) for task in cfg.model.tasks] == [
            2_762_689,
            2_765_761,
            2_763_713,
        ]
    first = build(Config.fromfile(CONFIGS / '_base_' / 'models' / 'pssnet_swin-t.py').model)
    assert count(first) == 37_817_544
    # What learns without weight decay: no weight of a convolution, no GroupNorm.
    kept = [n for n, p in first.named_parameters() if 'norm' in n and p.dim() > 1]
    assert not kept
