# The MC-dropout U-Net: base width 32, channel dropout of 0.2 in all stages but the first.
model = dict(
    type='JointModel',
    memory_format='channels_last',
    data_preprocessor=dict(type='JointDataPreprocessor', mean=[0.0], std=[255.0]),
    backbone=dict(type='MCUNet', in_channels=3, base_channels=32, bilinear=False, dropout=0.2),
    # One 1x1 convolution on the finest map.
    decode_head=dict(
        type='JointFCNHead',
        in_channels=32,
        channels=32,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=2,
        loss_decode=dict(type='MaskedCrossEntropyLoss'),
        loss_dice=dict(type='SoftDiceLoss', scheme='joint', smooth=1e-6),
        init_cfg=[],  # PyTorch's own
    ),
)
