# A&D on M&Ms: 2 % of the volumes of three vendors labelled, tested on the unseen vendor A.
_base_ = [
    '../_base_/models/diffusion-vnet_3d.py',
    '../_base_/datasets/mnms_32x128x128.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    ramp_up_epochs=100,
    test_cfg=dict(
        mode='slide', roi_size=(32, 128, 128), stride=(4, 16, 16), window_batch=2, bounded=True
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=80),
)
