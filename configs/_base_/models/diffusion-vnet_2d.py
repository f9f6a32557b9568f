# A&D on a diffusion V-Net, 2-D: 4 classes, base width 32. Where there is another number of
# classes, it is set in the three places where it stands.
model = dict(
    type='AggregateDecouple',
    memory_format='channels_last',
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='VolumeDataPreprocessor')
    ),
    backbone=dict(
        type='VNetEncoder', num_axes=2, in_channels=1, base_channels=32, time_channels=512
    ),
    # Of the decoder that predicts, and of the two that teach it.
    decode_head=dict(type='VNetHead', num_axes=2, base_channels=32, num_classes=4),
    loss_decode=dict(type='DiceCELoss', smooth=1.0),
    diffusion=dict(type='GaussianDiffusion', num_steps=1000, sampling_steps=10),
    denoising_stem=dict(
        type='DenoisingStem',
        num_axes=2,
        in_channels=1,
        base_channels=32,
        time_channels=512,
        num_classes=4,
    ),
    difficulty=dict(type='DifficultyTracker', num_classes=4, num_iters=50),
    unlabelled_weight=10.0,
    num_epochs=301,
    ramp_up_epochs=300,
)
custom_hooks = [
    dict(type='DecoderAveragingHook', keep=0.99),
    dict(type='PseudoLabelHealthHook'),
]
