"""Recorded passes against the same passes run in full, on networks that make it hard."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmjoint.models.uncertainty.replay import NotRepeatable, Recording


class Net(nn.Module):
    """What varies is a factor that the test sets; it stands for a dropout mask."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(8, 2, 3, padding=1)
        self.bias = nn.Parameter(torch.randn(1, 2, 1, 1))
        self.masks = []

    def drop(self, maps):
        with torch._C.DisableTorchFunction():
            mask = torch.cat(self.masks)
        return maps * mask


class Plain(Net):
    def forward(self, x):
        fixed = F.relu(self.norm(self.first(x)))
        varying = self.second(self.drop(fixed))
        return self.third(torch.cat([fixed, varying], 1)) + self.bias


class InPlaceFixed(Net):
    def forward(self, x):
        fixed = self.norm(self.first(x))
        fixed.relu_()
        fixed += 1
        varying = self.drop(fixed)
        return self.third(torch.cat([self.second(varying), fixed], 1))


class InPlaceVarying(Net):
    def forward(self, x):
        fixed = self.first(x)
        fixed += self.drop(fixed)  # as residual branches do
        fixed.relu_()
        return self.third(torch.cat([fixed, fixed], 1))


class ChangedAfterwards(Net):
    def forward(self, x):
        fixed = self.first(x)
        varying = self.drop(fixed)
        fixed.mul_(0.5)
        return self.third(torch.cat([varying, fixed], 1))


class Canvas(Net):
    def forward(self, x):
        fixed = self.first(x)
        canvas = torch.zeros_like(fixed)
        canvas[:, 1:3] = self.drop(fixed)[:, 1:3]
        return self.third(torch.cat([canvas, fixed], 1))


class Windows(Net):
    """As window attention: axis 0 becomes images times windows."""

    def forward(self, x):
        fixed = self.first(x)
        b, c, h, w = fixed.shape
        windows = fixed.view(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5)
        windows = self.drop(windows.reshape(-1, c, h // 2, w // 2))
        windows = self.norm(windows) + self.drop(windows)
        maps = windows.view(-1, 2, 2, c, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5)
        return self.third(torch.cat([maps.reshape(-1, c, h, w), maps.reshape(-1, c, h, w)], 1))


class Chunks(Net):
    def forward(self, x):
        left, right = self.first(x).chunk(2, 1)
        top, where = right.max(1, keepdim=True)
        maps = torch.cat([left, top * where, right.mean(1, keepdim=True)], 1)
        return self.third(torch.cat([self.drop(maps), maps], dim=1))


class Split(Net):
    """Three joined maps of which the middle one is fixed, in a convolution without bias."""

    def __init__(self):
        super().__init__()
        self.fourth = nn.Conv2d(12, 3, 3, padding=1, bias=False)

    def forward(self, x):
        fixed = self.first(x)
        varying = self.drop(fixed)
        return self.fourth(torch.cat((varying, fixed, varying.abs()), 1))


class SeenTwice(Split):
    """The joined maps go into a convolution and elsewhere."""

    def forward(self, x):
        fixed = self.first(x)
        joined = torch.cat([fixed, self.drop(fixed), fixed], 1)
        return self.fourth(joined) + joined[:, 3:6].mean(dim=(2, 3), keepdim=True)


class ChangedParts(Split):
    """A part changes after it was joined, so the join must be taken as it was."""

    def forward(self, x):
        fixed = self.first(x)
        varying = self.drop(fixed)
        joined = torch.cat([fixed, varying, fixed], 1)
        varying.zero_()
        return self.fourth(joined)


NETS = [Plain, InPlaceFixed, InPlaceVarying, ChangedAfterwards, Canvas, Windows, Chunks, Split]
NETS += [SeenTwice, ChangedParts]


def masks_of(kind, number):
    length = 4 if kind is Windows else 1
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(length, 4, 1, 1, generator=generator) < 0.6) / 0.6 for _ in range(number)]


def make(kind):
    torch.manual_seed(0)
    net = kind().eval()
    image = torch.randn(1, 3, 8, 8)
    volatile = set()
    constants = (*net.parameters(), *net.buffers())
    return net, image, Recording(lambda: net(image), image, constants, volatile)


def in_full(net, image, masks):
    results = []
    for mask in masks:
        net.masks = [mask]
        results.append(net(image))
    return torch.cat(results)


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('kind', NETS)
@torch.no_grad()
def test_equal_to_passes_in_full(kind, batch):
    net, image, recording = make(kind)
    masks = masks_of(kind, 7)
    expected = in_full(net, image, masks)
    net.masks = masks[:1]
    results = [recording.record()]
    for start in range(1, 7, batch):
        net.masks = masks[start : start + batch]
        results.append(recording.repeat(batch))
    torch.testing.assert_close(torch.cat(results), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', [Plain, InPlaceFixed, Chunks, Split])
@torch.no_grad()
def test_the_fixed_part_is_computed_once(kind):
    net, image, recording = make(kind)
    (mask,) = masks_of(kind, 1)
    net.masks = [mask]
    with FlopCounterMode(display=False) as full:
        net(image)
    with FlopCounterMode(display=False) as first:
        recording.record()
    with FlopCounterMode(display=False) as second:
        recording.repeat(1)
    assert first.get_total_flops() == full.get_total_flops()
    fixed = 2 * 64 * 9 * 3 * 4  # the first convolution
    if kind in (Plain, InPlaceFixed):
        fixed += 2 * 64 * 9 * 4 * 2  # the fixed half of the third one
    elif kind is Chunks:
        fixed += 2 * 64 * 9 * 4 * 2
    else:
        fixed += 2 * 64 * 9 * 4 * 3
    assert second.get_total_flops() == full.get_total_flops() - fixed


@torch.no_grad()
def test_only_the_border_stays_in_memory():
    class Deep(Net):
        def forward(self, x):
            maps = self.first(x)
            for _ in range(20):
                maps = self.second(F.relu(maps))
            return self.drop(maps)

    _, _, recording = make(Deep)
    recording.function.__closure__[1].cell_contents.masks = masks_of(Deep, 1)
    recording.record()
    kept = [leaf for call in recording.calls for leaf in call.leaves if leaf.kept is not None]
    assert len(kept) == 1 and kept[0].shape == (1, 4, 8, 8)
    assert sum(leaf.weak() is not None for call in recording.calls for leaf in call.leaves) == 1


@torch.no_grad()
def test_size_of_the_varying_maps():
    net, _, recording = make(Plain)
    net.masks = masks_of(Plain, 1)
    recording.record()
    maps, result = 4 * 64 * 4, 2 * 64 * 4
    # Joined maps (two of 4 channels), the varying ones in them and the sum that is made of them.
    assert 2 * maps <= recording.bytes_per_pass <= 4 * maps + 3 * result


class Branches(Net):
    def forward(self, x):
        varying = self.drop(self.first(x))
        return varying * 2 if varying.mean() > 0 else varying


class Writes(Net):
    def forward(self, x):
        varying = self.drop(self.first(x))
        self.bias.mul_(varying.mean())
        return varying


@pytest.mark.parametrize(
    ('kind', 'match'), [(Branches, 'looks at a varying value'), (Writes, 'writes into')]
)
@torch.no_grad()
def test_what_cannot_be_recorded(kind, match):
    net, _, recording = make(kind)
    net.masks = masks_of(kind, 1)
    with pytest.raises(NotRepeatable, match=match):
        recording.record()


@torch.no_grad()
def test_another_sequence_of_calls():
    class Counts(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            maps = self.drop(self.first(x))
            return maps if self.calls == 1 else maps.relu()

    net, _, recording = make(Counts)
    net.masks = masks_of(Counts, 1)
    recording.record()
    with pytest.raises(NotRepeatable, match='differs from pass to pass'):
        recording.repeat(1)


@torch.no_grad()
def test_random_draws_of_the_model_are_not_fixed():
    class Noisy(Net):
        def forward(self, x):
            return self.first(x) + F.dropout(x[:, :1], 0.5, training=True) + torch.randn(1)

    net, image, recording = make(Noisy)
    recording.record()
    torch.manual_seed(1)
    repeated = recording.repeat(1)
    torch.manual_seed(1)
    assert torch.equal(repeated, net(image))
    assert not torch.equal(repeated, recording.repeat(1))
