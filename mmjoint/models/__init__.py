import warnings

# Importing models of mmseg or mmpretrain warns that mmcv comes without its compiled operators. We
# use none of them (an installation has no compiler), so the advice to install them would mislead.
with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
    from . import (
        adversarial,
        backbones,
        cls_heads,
        data_preprocessors,
        decode_heads,
        diffusion,
        discriminators,
        explanations,
        joint,
        layers,
        losses,
        necks,
        semi,
        uncertainty,
    )

__all__ = [
    'adversarial',
    'backbones',
    'cls_heads',
    'data_preprocessors',
    'decode_heads',
    'diffusion',
    'discriminators',
    'explanations',
    'joint',
    'layers',
    'losses',
    'necks',
    'semi',
    'uncertainty',
]
