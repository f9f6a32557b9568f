# V-Net at a quarter of the width on the labels of small made-up volumes alone.
# A short budget needs a higher learning rate and less dropout than the published one.
_base_ = [
    '../_base_/models/vnet_3d.py',
    '../_base_/datasets/phantom-synapse_16x32x32.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    memory_format='channels_first',
    backbone=dict(base_channels=8, dropout=0.0, last_dropout=0.1),
    decode_head=dict(base_channels=8, num_classes=14, dropout=0.0, last_dropout=0.1),
    test_cfg=dict(mode='slide', roi_size=(16, 32, 32), overlap=0.5, window_batch=4, bounded=True),
)
train_dataloader = dict(
    batch_size=2,
    sampler=dict(counts=(2,)),
    dataset=dict(
        datasets=dict(labelled=dict(pipeline=_base_.supervised_pipeline), unlabelled=None)
    ),
)
train_cfg = dict(max_epochs=20, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end=21, by_epoch=True)]
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater')
)
