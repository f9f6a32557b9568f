"""Critics, decoders, the attention between tasks, and predictions, against the original's."""

import re

import numpy as np
import pytest
import torch

from mmjoint.models.adversarial import join_tasks
from mmjoint.models.decode_heads import TaskDecodeHead
from mmjoint.models.discriminators import ConvCritic
from mmjoint.models.joint import add_task_prediction
from mmjoint.models.layers import CrossTaskAttention
from mmjoint.structures import JointDataSample

from ..test_models.tiny import build
from .fundus_fill import fill
from .loader import reference

METHOD = 'partial_fundus'
# Names of the folder -> ours.
ATTENTION = {
    'att_bias_table': 'blocks.0.relative_position_bias_table',
    'att_ln': 'blocks.0.norm1',
    'att_q': 'blocks.0.q',
    'att_kv': 'blocks.0.kv',
    'att_out': 'blocks.0.proj',
    'ffn_ln': 'blocks.0.norm2',
    'ffn_in': 'blocks.0.ffn.0',
    'ffn_out': 'blocks.0.ffn.2',
    'pairfuse_conv': 'fuse.conv',
    'pairfuse_gn': 'fuse.gn',
}
DECODER = (
    (r'ppm(\d)_(conv|gn)', r'psp_modules.\1.1.\2'),
    (r'top_(conv|gn)', r'bottleneck.\1'),
    (r'lat(\d)_(conv|gn)', r'lateral_convs.\1.\2'),
    (r'smooth(\d)_(conv|gn)', r'fpn_convs.\1.\2'),
    (r'merge_(conv|gn)', r'fpn_bottleneck.\1'),
    (r'aux_(conv|gn)', r'convs.0.\1'),
)
GN = dict(type='GN', num_groups=1)
HEADS, WINDOW = 2, 4  # not stored; the folder's README names them


def assert_near(actual, expected, tolerance, what=''):
    assert tuple(actual.shape) == expected.shape, what
    np.testing.assert_allclose(
        actual.detach().numpy(), expected, rtol=0, atol=tolerance, err_msg=what
    )


def split_name(name):
    """`ppm0_conv_weight` -> ('ppm0_conv', '.weight'); a table has no second part."""
    match = re.fullmatch(r'(.+)_(weight|bias)', name)
    return (match[1], f'.{match[2]}') if match else (name, '')


def attention_weights(weights, prefix=''):
    found = {}
    for name, value in weights.items():
        stem, kind = split_name(name)
        if stem in ATTENTION:
            found[prefix + ATTENTION[stem] + kind] = value.float()
    return found


def make_attention(weights):
    side = round(len(weights['att_bias_table']) ** 0.5)
    assert side == 2 * WINDOW - 1 and weights['att_bias_table'].shape[1] == HEADS
    num_tasks = weights['pairfuse_conv_weight'].shape[1] // len(weights['pairfuse_conv_weight']) + 1
    return dict(
        num_tasks=num_tasks,
        channels=len(weights['pairfuse_conv_weight']),
        num_heads=HEADS,
        window_size=WINDOW,
    )


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('blocks', ['shared', 'per_pair'])
@torch.no_grad()
def test_attention(blocks, fused):
    """One block for all pairs; or one for each, all alike."""
    arrays = reference(METHOD, 'cross_task_attention')
    weights = arrays.below('w/')
    attention = CrossTaskAttention(**make_attention(weights), blocks=blocks, fused=fused)
    state = attention_weights(weights)
    for number in range(1, len(attention.blocks)):
        state |= {
            key.replace('blocks.0', f'blocks.{number}'): value for key, value in state.items()
        }
    attention.load_state_dict(state)
    cases = sorted(name.removesuffix('__in') for name in arrays if name.endswith('__in'))
    assert cases
    for case in cases:
        result = attention(list(arrays.tensor(f'{case}__in')))
        result = torch.stack([result[task] for task in range(attention.num_tasks)])
        assert_near(result, arrays[f'{case}__out'], 1e-5, case)


def make_head(arrays, *, feats):
    """A head with the stored weights, those of all tasks one after another on axis 0."""
    weights = arrays.below('w/')
    num_tasks = len([name for name in weights if re.fullmatch(r'seg\d+_weight', name)])
    tasks = {
        str(t): {str(c): (c + 1,) for c in range(len(weights[f'seg{t}_weight']))}
        for t in range(num_tasks)
    }
    channels = weights['seg0_weight'].shape[1]
    in_channels = [feat.shape[1] // num_tasks for feat in feats]
    if 'aux_conv_weight' in weights:
        decoder = dict(
            type='mmseg.FCNHead', in_channels=in_channels[0], in_index=0, num_convs=1,
            concat_input=False,
        )  # fmt: skip
    else:
        decoder = dict(
            type='mmseg.UPerHead', in_channels=in_channels, in_index=list(range(len(feats)))
        )
    attention = None
    if 'att_q_weight' in weights:
        settings = make_attention(weights)
        assert settings.pop('num_tasks') == num_tasks and settings.pop('channels') == channels
        attention = dict(type='CrossTaskAttention', **settings)
    head = build(
        dict(
            type='TaskDecodeHead',
            tasks=tasks,
            decoder=dict(decoder, channels=channels, norm_cfg=GN),
            attention=attention,
        )
    )
    state = attention_weights(weights, 'attention.')
    for name, value in weights.items():
        stem, kind = split_name(name)
        if match := re.fullmatch(r'seg(\d+)', stem):
            state[f'decoders.{match[1]}.conv_seg{kind}'] = value.float()
        for pattern, ours in DECODER:
            if match := re.fullmatch(pattern, stem):
                for task, own in zip(tasks, value.float().chunk(num_tasks), strict=True):
                    state[f'decoders.{task}.{match.expand(ours)}{kind}'] = own
    head.load_state_dict(state)
    return head.eval()


@pytest.mark.parametrize(
    ('file', 'tolerance'),
    [('uper_group_plain', 2e-5), ('uper_group_attn', 2e-5), ('fcn_group', 1e-5)],
)
@torch.no_grad()
def test_decoders(file, tolerance):
    arrays = reference(METHOD, file)
    feats = [arrays.tensor(name) for name in sorted(arrays) if re.fullmatch(r'feat\d*', name)]
    head = make_head(arrays, feats=feats)
    assert isinstance(head, TaskDecodeHead)
    tasks = list(head.decoders)
    own = zip(*(feat.chunk(len(tasks), 1) for feat in feats), strict=True)
    maps = {task: head.decode(f, task) for task, f in zip(tasks, own, strict=True)}
    logits = head.classify(maps, dict.fromkeys(tasks))
    for number, task in enumerate(tasks):
        assert_near(logits[task], arrays[f'logit{number}'], tolerance, f'{file}: task {task}')


@torch.no_grad()
def test_critics():
    """Weights by formula."""
    arrays = reference(METHOD, 'discriminator')
    cases = sorted(name.removesuffix('__in') for name in arrays if name.endswith('__in'))
    assert cases
    for case in cases:
        critic = ConvCritic(int(case.removeprefix('c')))
        fill(critic.parameters(), scale=1.0, start=0)
        assert_near(critic(arrays.tensor(f'{case}__in')), arrays[f'{case}__out'], 1e-5, case)


def test_inference():
    """Logits of the network to what a test sample yields; what is 0 or 1 there is above 1/2."""
    arrays = reference(METHOD, 'inference')
    names = sorted(name for name in arrays if name.startswith('logit'))
    assert names
    logits = {name.removeprefix('logit'): arrays.tensor(name) for name in names}
    size = next(iter(logits.values())).shape[2:]
    expected = {task: arrays[f'out{task}'] for task in logits}
    original = next(iter(expected.values())).shape[1:]
    sample = JointDataSample(metainfo=dict(img_shape=tuple(size), ori_shape=original))
    joined = join_tasks(logits, tuple(logits), size)[0]
    add_task_prediction(sample, joined, {t: range(v.shape[1]) for t, v in logits.items()})
    for task, value in expected.items():
        pred = sample.pred_tasks.get(task)
        if np.issubdtype(value.dtype, np.integer):
            assert np.array_equal(pred.numpy() > 0.5, value == 1), task
        else:
            assert_near(pred, value, 1e-6, task)
