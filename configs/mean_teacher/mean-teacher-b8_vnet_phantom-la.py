# Mean teacher in place of A&D, everything else the same.
# A short budget needs a higher learning rate and less dropout than the published one.
_base_ = [
    '../_base_/models/mean-teacher-vnet_3d.py',
    '../_base_/datasets/phantom-la_32x32x16.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    memory_format='channels_first',
    segmentor=dict(
        memory_format='channels_first',
        backbone=dict(base_channels=8, dropout=0.0, last_dropout=0.1),
        decode_head=dict(base_channels=8, num_classes=2, dropout=0.0, last_dropout=0.1),
    ),
    momentum=0.05,
    test_cfg=dict(mode='slide', roi_size=(32, 32, 16), overlap=0.5, window_batch=4, bounded=True),
)
train_cfg = dict(max_epochs=30, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end=31, by_epoch=True)]
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater')
)
