# Mean teacher on the V-Net of A&D, 3-D: 4 classes, base width 32.
model = dict(
    type='MeanTeacher',
    memory_format='channels_last',
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='VolumeDataPreprocessor')
    ),
    segmentor=dict(
        type='JointModel',
        memory_format='channels_last',
        backbone=dict(type='VNetEncoder', num_axes=3, in_channels=1, base_channels=32),
        decode_head=dict(
            type='VNetHead',
            num_axes=3,
            base_channels=32,
            num_classes=4,
            loss_decode=dict(type='DiceCELoss', smooth=1.0),
        ),
    ),
    loss_consistency=dict(type='SoftmaxMSELoss'),
    momentum=0.01,
    noise_std=0.1,
    predict_on='teacher',
    unlabelled_weight=0.1,
    num_epochs=301,
    ramp_up_epochs=300,
)
custom_hooks = [dict(type='MeanTeacherHook')]
