import pytest
import torch
import torch.nn.functional as F

from mmjoint.models.layers import CrossTaskAttention

from ..tiny import assert_same, assert_same_run, run_block

C, HEADS, WINDOW = 8, 2, 4


def make(seed=0, num_tasks=3, **options):
    """All parameters at random: a table or a bias of zeros would hide mistakes."""
    options = {'num_heads': HEADS, 'window_size': WINDOW, **options}
    attention = CrossTaskAttention(num_tasks=num_tasks, channels=C, **options)
    generator = torch.Generator().manual_seed(seed)
    for parameter in attention.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return attention.double()


def make_maps(num_tasks=3, batch=2, size=(7, 10), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(num_tasks, batch, C, *size, generator=generator, dtype=torch.float64))


def plain(attention, maps):
    """The definition, pixel by pixel, with nothing shared between pairs or samples."""
    num_tasks, (height, width) = len(maps), maps[0].shape[2:]
    blocks = list(attention.blocks)
    if len(blocks) == 1:
        blocks *= num_tasks * (num_tasks - 1)
    pairs = [(i, j) for i in range(num_tasks) for j in range(num_tasks) if i != j]
    padded = [F.pad(m, (0, -width % WINDOW, 0, -height % WINDOW)) for m in maps]
    outputs = []
    for i, own in enumerate(maps):
        joined = []
        for (row, column), block in zip(pairs, blocks, strict=True):
            if row != i:
                continue
            attended = torch.zeros_like(padded[i])
            for sample in range(len(own)):
                for top in range(0, height, WINDOW):
                    for left in range(0, width, WINDOW):
                        cut = (
                            sample,
                            slice(None),
                            slice(top, top + WINDOW),
                            slice(left, left + WINDOW),
                        )
                        attended[cut] = window(block, padded[i][cut], padded[column][cut])
            z = (own + attended[..., :height, :width]).permute(0, 2, 3, 1)
            joined.append(z + block.ffn(block.norm2(z)))
        fused = attention.fuse(torch.cat(joined, -1).permute(0, 3, 1, 2))
        outputs.append(own + fused)
    return outputs


def window(block, own, other):
    """Attention of one window, ``(C, w, w)``."""
    d = C // HEADS
    a, b = (block.norm1(m.flatten(1).t()) for m in (own, other))
    q, (k, v) = block.q(a), block.kv(b).chunk(2, 1)
    out = []
    for head in range(HEADS):
        part = slice(head * d, (head + 1) * d)
        logits = torch.zeros(WINDOW**2, WINDOW**2, dtype=q.dtype)
        for i in range(WINDOW**2):
            for j in range(WINDOW**2):
                dy, dx = i // WINDOW - j // WINDOW, i % WINDOW - j % WINDOW
                row = (dy + WINDOW - 1) * (2 * WINDOW - 1) + dx + WINDOW - 1
                bias = block.relative_position_bias_table[row, head]
                logits[i, j] = q[i, part] @ k[j, part] / d**0.5 + bias
        out.append(logits.softmax(1) @ v[:, part])
    return block.proj(torch.cat(out, 1)).t().view(C, WINDOW, WINDOW)


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('blocks', ['shared', 'per_pair'])
@torch.no_grad()
def test_definition(blocks, fused):
    attention = make(blocks=blocks, fused=fused)
    assert len(attention.blocks) == (1 if blocks == 'shared' else 6)
    for size in ((4, 8), (5, 6)):
        maps = make_maps(size=size)
        result = attention(maps)
        for task, expected in enumerate(plain(attention, maps)):
            assert_same(result[task], expected, f'task {task} of {size}')


@pytest.mark.parametrize('blocks', ['shared', 'per_pair'])
def test_gradients_of_the_fused_form(blocks):
    runs = []
    for fused in (True, False):
        attention = make(blocks=blocks, fused=fused)
        runs.append(run_block(Ordered(attention), make_maps()))
    assert_same_run(*runs)


class Ordered(torch.nn.Module):
    """Takes the maps one by one and gives them so."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, *maps):
        return list(self.attention(maps).values())


@pytest.mark.parametrize('blocks', ['shared', 'per_pair'])
@torch.no_grad()
def test_wanted_tasks_and_samples(blocks):
    attention, maps = make(blocks=blocks), make_maps(batch=4)
    whole = attention(maps)
    some = attention(maps, {2: [3, 0], 0: slice(1, 3)})
    assert list(some) == [2, 0]
    assert_same(some[2], whole[2][[3, 0]])
    assert_same(some[0], whole[0][1:3])


@torch.no_grad()
def test_no_sample_depends_on_another():
    attention, maps = make(), make_maps(batch=2)
    together = attention(maps)
    for sample in range(2):
        alone = attention([m[sample : sample + 1] for m in maps])
        for task, value in alone.items():
            assert_same(together[task][sample : sample + 1], value)


@torch.no_grad()
def test_two_tasks():
    attention, maps = make(num_tasks=2), make_maps(2)
    assert len(attention(maps)) == 2
    for task, expected in enumerate(plain(attention, maps)):
        assert_same(attention(maps)[task], expected)


def test_initial_values():
    torch.manual_seed(0)
    attention = CrossTaskAttention(num_tasks=3, channels=128, window_size=16)
    attention.init_weights()
    (block,) = attention.blocks
    for weight in (block.q.weight, block.kv.weight, block.proj.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.05)
    assert attention.fuse.conv.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    # PyTorch's own: uniform up to 1 / sqrt(fan-in).
    assert block.ffn[0].weight.abs().max().item() == pytest.approx(128**-0.5, rel=0.01)


def test_number_of_weights():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    options = dict(num_tasks=3, channels=128, num_heads=4, window_size=16)
    shared = count(CrossTaskAttention(**options))
    per_pair = count(CrossTaskAttention(**options, blocks='per_pair'))
    # The original has six blocks and, in each, a norm that it never uses.
    unused_norm = 2 * 128
    assert per_pair + 6 * unused_norm == 1_247_256
    assert shared + unused_norm + 1_011_860 == 1_247_256


def test_mistakes():
    with pytest.raises(ValueError, match="'shared' or 'per_pair', got 'all'"):
        make(blocks='all')
    with pytest.raises(ValueError, match='at least 2, got 1'):
        make(num_tasks=1)
    with pytest.raises(ValueError, match='3 heads of 8 channels'):
        make(num_heads=3)
    with pytest.raises(ValueError, match='maps of 3 tasks, got 2'):
        make()(make_maps(2))
