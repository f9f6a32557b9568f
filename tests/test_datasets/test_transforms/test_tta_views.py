import numpy as np
import pytest
from PIL import Image

from mmjoint.datasets.base_joint_dataset import BaseJointDataset
from mmjoint.datasets.transforms import PackJointInputs, PillowResize, TTAViews
from mmjoint.functional.views import ImageViews, Shrink, View, dihedral_views
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json

SIZE = (43, 58)


def image(size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def results(**more):
    array = image()
    return dict(img=array, img_shape=SIZE, ori_shape=SIZE, seg_fields=[], img_path='a.png', **more)


def resized(array):
    return np.array(Image.fromarray(array).resize((16, 24), Image.Resampling.BICUBIC))


@pytest.mark.parametrize('shrink', [None, 0.8])
def test_bases_go_through_the_pipeline(shrink):
    transform = TTAViews([PillowResize((16, 24)), PackJointInputs()], shrink=shrink)
    packed = transform(results())
    seen = packed['data_samples'].view_images
    plan = ImageViews(dihedral_views(), SIZE, None if shrink is None else Shrink(shrink))
    assert len(seen) == (2 if shrink is None else 6)
    for array, base in zip(seen, plan.bases(image()), strict=True):
        np.testing.assert_array_equal(array, resized(base).transpose(2, 0, 1))
    np.testing.assert_array_equal(packed['inputs'].numpy(), seen[0])
    assert packed['data_samples'].ori_shape == SIZE


def test_plain_views_are_the_flips_of_the_bases():
    pipeline = [PillowResize((16, 24)), PackJointInputs()]
    fused, plain = (
        TTAViews(pipeline, shrink=0.8, fused=fused)(results())['data_samples'].view_images
        for fused in (True, False)
    )
    assert len(plain) == 16
    plan = ImageViews(dihedral_views(), SIZE, Shrink(0.8))
    for member, array in zip(plan.members, plain, strict=True):
        view = View(False, member.view.flips).apply(fused[member.base], (-2, -1))
        np.testing.assert_array_equal(view, array)


def test_a_whole_pipeline_in_a_data_set(tmp_path):
    """Files are read once, labels stay with the image, and full-size images are not cached."""
    mask = (image()[..., 0] > 128).astype(np.uint8)
    for name, array in (('a.png', image()), ('m.png', mask)):
        Image.fromarray(array).save(tmp_path / name)
    record = dict(img_path='a.png', seg_map_path='m.png', gt_label=1)
    atomic_write_json(tmp_path / 'annotations' / 'test.json', [record])
    pipeline = [
        dict(type='LoadJointImage'),
        dict(type='PillowResize', size=(16, 24)),
        dict(type='LoadJointAnnotations'),
        dict(type='PackJointInputs'),
    ]
    dataset = BaseJointDataset(
        str(tmp_path),
        split='test',
        metainfo=dict(classes=('a', 'b'), cls_classes=('c', 'd')),
        pipeline=[dict(type='TTAViews', transforms=pipeline, views='flips', shrink=0.8)],
        cache=True,
    )
    for _ in range(2):
        sample = dataset[0]['data_samples']
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], mask)
        assert int(sample.gt_label) == 1 and sample.ori_shape == SIZE
        assert [array.shape for array in sample.view_images] == [(3, 24, 16)] * 3
    assert len(dataset.cache) == 0


def test_what_is_refused():
    pack = [PackJointInputs()]
    with pytest.raises(UserError, match="a.png: expected a 2-D image for views of source='image'"):
        TTAViews(pack)({**results(), 'img': np.zeros((4, 5, 6, 1), np.uint8)})
    with pytest.raises(UserError, match='expected an image of 8 bits to be shrunk, found float32'):
        TTAViews(pack, shrink=0.8)({**results(), 'img': image().astype(np.float32)})
    with pytest.raises(UserError, match="expected a transform that adds 'img'"):
        TTAViews(())(dict(img_path='a.png'))
    with pytest.raises(UserError, match=r'at the size of the image, \(43, 58\), found ori_shape'):
        TTAViews(pack)({**results(), 'ori_shape': (24, 16)})


def test_repr_shows_the_options():
    assert "shrink=(0.8, 'exact')" in repr(TTAViews([], shrink=0.8, centre='exact'))
