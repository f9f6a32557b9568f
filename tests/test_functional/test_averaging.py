import pytest
import torch

from mmjoint.functional.averaging import pull_towards_mean


@pytest.mark.parametrize('keep', [0.0, 0.3, 0.99, 1.0])
def test_equal_to_one_by_one_bit_for_bit(keep):
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (3,), (), (4, 3, 3, 3, 3)]
    theta, xi, psi = (
        [torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)
    )
    expected = [
        keep * a + (1 - keep) * ((b + c) / 2) for a, b, c in zip(theta, xi, psi, strict=True)
    ]
    before = [x.clone() for x in [*xi, *psi]]
    pull_towards_mean(theta, xi, psi, keep)
    assert all(torch.equal(x, y) for x, y in zip(theta, expected, strict=True))
    assert all(torch.equal(x, y) for x, y in zip([*xi, *psi], before, strict=True))


def test_mistakes():
    x = [torch.zeros(2)]
    with pytest.raises(ValueError, match=r'keep must be in \[0, 1\], got 1.5'):
        pull_towards_mean(x, x, x, 1.5)
    with pytest.raises(ValueError, match='got 1, 1 and 0'):
        pull_towards_mean(x, x, [], 0.5)
