"""Official checkpoints of UML: the repository's version and the paper's version of 2023."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmjoint.models.backbones.res2net_v1b import rename_res2net_key
from mmjoint.models.backbones.vgg_bn import rename_vgg_key

from .common import Converter, shifted


def _double_conv(*official: str) -> dict[str, str]:
    return dict(zip(official, ('conv1', 'bn1', 'conv2', 'bn2'), strict=True))


# Index of a layer in the official sequences -> its name in our DoubleConv.
REPOSITORY_LAYERS = _double_conv('0', '1', '3', '4')
PAPER_LAYERS = _double_conv('0', '1', '4', '5')


def _encoder(prefix: str, rename: Any) -> Any:
    return lambda match: f'{prefix}.{rename(match[1])}'


def _stage(layers_per_stage: int, ours: str) -> Any:
    """Names in the classifier's sequence: which of the four stages, and what in it."""

    def replace(match: re.Match[str]) -> str:
        return f'cls_head.stages.{int(match[1]) // layers_per_stage}.{ours.format(match[2])}'

    return replace


def _blocks(template: str, layers: dict[str, str], *, base: int, step: int = 1) -> Any:
    """Names of double convolutions: level, (which of two,) layer, parameter."""

    def replace(match: re.Match[str]) -> str:
        level, *which, layer, parameter = match.groups()
        name = template.format(n=(int(level) - base) * step, which=''.join(which))
        return f'{name}.{layers[layer]}.{parameter}'

    return replace


_MIXER = (
    (r'(?:mut_)?feature_mixer\.cf_conv(\d)\.conv\.weight', shifted('neck.cls_convs.{n}.weight', base=1)),
    (r'(?:mut_)?feature_mixer\.sf_conv(\d)\.conv\.weight', shifted('neck.seg_convs.{n}.weight', base=1)),
    (r'(?:mut_)?feature_mixer\.(?:out|f)_conv(\d)\.conv\.weight', shifted('neck.out_convs.{n}.weight', base=1)),
    (r'(?:mut_)?feature_mixer\.PSA(\d)\.(.+)', shifted('neck.attentions.{n}.{1}', base=1)),
)  # fmt: skip

_UNUSED = r'.*\.layer4\..*|seg_feature_encoder\.conv5_.*|(?:cls|seg)_feature_encoder\..*num_batches_tracked'


def _classes(segmentation: str, classifier: str) -> Any:
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        plain = {key.removeprefix('module.'): value for key, value in state.items()}
        if segmentation not in plain or classifier not in plain:
            return {}
        num_pixel_classes = len(plain[segmentation])
        return {
            'model.mutual_head.num_classes': num_pixel_classes,
            'model.decode_head.num_classes': num_pixel_classes,
            'model.cls_head.num_classes': len(plain[classifier]),
        }

    return options


UML_CONVERTER = Converter(
    config='configs/uml/uml_res2net_refuge.py',
    dropped=_UNUSED,
    options=_classes('un_seg_decoder.conv_out.conv.weight', 'un_cls_decoder.cls_predict.0.weight'),
    rules=(
        (r'cls_feature_encoder\.(.+)', _encoder('backbone', rename_res2net_key)),
        (r'seg_feature_encoder\.(.+)', _encoder('seg_backbone', rename_res2net_key)),
        *_MIXER,
        (r'mut_feature_decoder\.conv_adj_channel(\d)\.conv\.weight', shifted('mutual_head.adjust.{n}.weight', base=2)),
        (r'mut_feature_decoder\.up_conv(\d)\.conv([12])\.double_conv\.(\d)\.(.+)',
         _blocks('mutual_head.ups.{n}.conv{which}', REPOSITORY_LAYERS, base=2)),
        (r'mut_feature_decoder\.out_conv(\d)\.0\.conv\.weight', shifted('mutual_head.evidence_convs.{n}.first.weight', base=1)),
        (r'mut_feature_decoder\.out_conv(\d)\.1\.conv\.weight', shifted('mutual_head.evidence_convs.{n}.second.weight', base=1)),
        (r'un_seg_decoder\.conv_adj_channel(\d)\.conv\.weight', shifted('decode_head.adjust.{n}.weight', base=2)),
        (r'un_seg_decoder\.un(\d)\.W_x\.(.+)', shifted('decode_head.navigators.{n}.w_x.{1}', base=2)),
        (r'un_seg_decoder\.un(\d)\.W_m\.(.+)', shifted('decode_head.navigators.{n}.w_m.{1}', base=2)),
        (r'un_seg_decoder\.un(\d)\.psi\.(.+)', shifted('decode_head.navigators.{n}.psi.{1}', base=2)),
        (r'un_seg_decoder\.conv_up(\d)\.conv([12])\.double_conv\.(\d)\.(.+)',
         _blocks('decode_head.ups.{n}.conv{which}', REPOSITORY_LAYERS, base=2)),
        (r'un_seg_decoder\.conv_out\.conv\.weight', 'decode_head.out_conv.weight'),
        (r'un_cls_decoder\.(conv_reliable)\.double_conv\.(\d)\.(.+)',
         lambda match: f'cls_head.guide_conv.{REPOSITORY_LAYERS[match[2]]}.{match[3]}'),
        (r'un_cls_decoder\.cls_head\.(\d+)\.conv\.(weight)', _stage(4, '0.depthwise.{}')),
        (r'un_cls_decoder\.cls_head\.(\d+)\.point_wise_conv\.(weight)', _stage(4, '0.pointwise.{}')),
        (r'un_cls_decoder\.cls_head\.(\d+)\.(\w+)', _stage(4, '1.{}')),
        (r'un_cls_decoder\.cls_predict\.0\.weight', 'cls_head.fc.weight'),
    ),
)  # fmt: skip

UML_PAPER_CONVERTER = Converter(
    config='configs/uml/uml-paper_res2net-vgg16_refuge.py',
    dropped=_UNUSED,
    options=_classes('UN.conv_out0.conv.weight', 'UI.cls_predict.0.weight'),
    rules=(
        (r'cls_feature_encoder\.(.+)', _encoder('backbone', rename_res2net_key)),
        (r'seg_feature_encoder\.(.+)', _encoder('seg_backbone', rename_vgg_key)),
        *_MIXER,
        (r'mutual_feature_decoder\.up_conv(\d)\.conv\.double_conv\.(\d)\.(.+)',
         _blocks('mutual_head.ups.{n}.conv', PAPER_LAYERS, base=1)),
        (r'mutual_feature_decoder\.out_conv1\.conv\.weight', 'mutual_head.evidence_conv.first.weight'),
        (r'mutual_feature_decoder\.out_conv2\.conv\.weight', 'mutual_head.evidence_conv.second.weight'),
        (r'UN\.conv_bottom\.conv\.weight', 'decode_head.bottom.weight'),
        (r'UN\.UN_C3\.conv\.(.+)', r'decode_head.coarse_guard.lift.\1'),
        (r'UN\.UN_C3\.conv_out\.conv\.weight', 'decode_head.coarse_guard.merge.weight'),
        (r'UN\.UN_C0\.conv\.(.+)', r'decode_head.fine_guard.lift.\1'),
        (r'UN\.UN_C0\.conv_out\.conv\.weight', 'decode_head.fine_guard.merge.weight'),
        (r'UN\.conv_up(\d)\.conv\.double_conv\.(\d)\.(.+)',
         _blocks('decode_head.ups.{n}.conv', PAPER_LAYERS, base=3, step=-1)),
        (r'UN\.conv_out(\d)\.conv\.weight', shifted('decode_head.out_convs.{n}.weight', base=3, step=-1)),
        (r'UI\.(conv_reliable)\.double_conv\.(\d)\.(.+)',
         lambda match: f'cls_head.guide_conv.{PAPER_LAYERS[match[2]]}.{match[3]}'),
        (r'UI\.cls_head\.cls_head\.(\d+)\.conv1\.(weight)', _stage(3, '0.depthwise.{}')),
        (r'UI\.cls_head\.cls_head\.(\d+)\.pointwise\.(weight)', _stage(3, '0.pointwise.{}')),
        (r'UI\.cls_head\.cls_head\.(\d+)\.(\w+)', _stage(3, '1.{}')),
        (r'UI\.cls_predict\.0\.weight', 'cls_head.fc.weight'),
    ),
)  # fmt: skip
