# The learning scheme and the saliency bridge of MultiMix on a ResNet-18 with a UPerNet head. The
# bridge ends in the map of an eighth of the image's size, as in the original.
_base_ = ['./multimix-fixed_jsrt-10_chestxraypneumonia-100.py']
norm_cfg = dict(type='GN', num_groups=32)  # samples do not depend on each other
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=18,
        in_channels=1,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        style='pytorch',
    ),
    bridge=dict(level=1),
    decode_head=dict(
        _delete_=True,
        type='JointUPerHead',
        in_channels=(64, 130, 256, 512),  # image and saliency stand beside the 128
        channels=64,
        num_classes=2,
        single_logit=True,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='SampleDiceLoss', smooth=1.0, loss_weight=5.0),
    ),
    cls_head=dict(
        _delete_=True,
        type='JointLinearClsHead',
        in_channels=512,
        num_classes=2,
        loss=dict(type='MaskedCrossEntropyLoss'),
    ),
)
