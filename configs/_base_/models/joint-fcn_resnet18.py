# A small baseline: one ResNet-18 that a fully convolutional and a linear head share.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='JointModel',
    data_preprocessor=dict(
        type='JointDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        size_divisor=32,
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=18,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        style='pytorch',
    ),
    decode_head=dict(
        type='JointFCNHead',
        in_channels=(64, 128, 256, 512),
        in_index=(0, 1, 2, 3),
        input_transform='resize_concat',
        channels=128,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        num_classes=3,
        loss_decode=dict(type='MaskedCrossEntropyLoss'),
        loss_dice=dict(type='LogDiceLoss'),
    ),
    cls_head=dict(
        type='JointLinearClsHead',
        num_classes=2,
        in_channels=512,
        loss=dict(type='MaskedCrossEntropyLoss'),
    ),
)
