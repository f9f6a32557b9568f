# A&D at a quarter of the width on small made-up volumes, for machines without a GPU.
_base_ = [
    '../_base_/models/diffusion-vnet_3d.py',
    '../_base_/datasets/phantom-mmwhs_32x32x32.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(base_channels=8),
    decode_head=dict(base_channels=8, num_classes=5),
    denoising_stem=dict(base_channels=8, num_classes=5),
    difficulty=dict(num_classes=5),
    diffusion=dict(sampling_steps=2),
    # For so few iterations: batch norms that do not follow the sampling, and below a faster
    # averaging than the published 1 % per iteration.
    update_bn_in_sampling=False,
    ramp_up_epochs=100,
    test_cfg=dict(mode='slide', roi_size=(32, 32, 32), overlap=0.5, window_batch=4, bounded=True),
)
# 200 iterations.
train_cfg = dict(max_epochs=20, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=3e-2))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end=21, by_epoch=True)]
default_hooks = dict(
    checkpoint=dict(interval=4, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater')
)
custom_hooks = [dict(type='DecoderAveragingHook', keep=0.95)]
