# A Swin-T that a UPerNet head, with dropout before its classifier, and a linear head share.
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
        type='mmseg.SwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
    ),
    decode_head=dict(
        type='JointUPerHead',
        in_channels=(96, 192, 384, 768),
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=dict(type='BN'),
        num_classes=3,
        loss_decode=dict(type='MaskedCrossEntropyLoss'),
        loss_dice=dict(type='LogDiceLoss'),
    ),
    cls_head=dict(
        type='JointLinearClsHead',
        num_classes=2,
        in_channels=768,
        loss=dict(type='MaskedCrossEntropyLoss'),
    ),
)
