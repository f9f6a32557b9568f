# A&D on slices of M&Ms: 2 % of the volumes of three vendors labelled, vendor A unseen.
_base_ = [
    '../_base_/models/diffusion-vnet_2d.py',
    '../_base_/datasets/mnms-2d_224x224.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    ramp_up_epochs=100,
    test_cfg=dict(mode='slide', roi_size=(224, 224), stride=(4, 16), window_batch=8, bounded=True),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=50),
)
