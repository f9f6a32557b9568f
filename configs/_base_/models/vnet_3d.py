# The V-Net of A&D alone, 3-D, trained by labels: one encoder, one decoder, 4 classes.
model = dict(
    type='JointModel',
    memory_format='channels_last',
    data_preprocessor=dict(type='VolumeDataPreprocessor'),
    backbone=dict(type='VNetEncoder', num_axes=3, in_channels=1, base_channels=32),
    decode_head=dict(
        type='VNetHead',
        num_axes=3,
        base_channels=32,
        num_classes=4,
        loss_decode=dict(type='DiceCELoss', smooth=1.0),
    ),
)
