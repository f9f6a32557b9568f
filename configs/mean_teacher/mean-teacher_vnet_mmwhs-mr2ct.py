# Mean teacher in place of A&D, everything else the same.
_base_ = [
    '../_base_/models/mean-teacher-vnet_3d.py',
    '../_base_/datasets/mmwhs_128x128x128.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    segmentor=dict(decode_head=dict(num_classes=5)),
    test_cfg=dict(
        mode='slide', roi_size=(128, 128, 128), stride=(4, 16, 16), window_batch=2, bounded=True
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=100),
)
