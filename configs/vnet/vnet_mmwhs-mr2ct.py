# V-Net on labels alone: the MR volumes of MMWHS, tested on CT. As many iterations as A&D makes.
_base_ = [
    '../_base_/models/vnet_3d.py',
    '../_base_/datasets/mmwhs_128x128x128.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=5),
    test_cfg=dict(
        mode='slide', roi_size=(128, 128, 128), stride=(4, 16, 16), window_batch=2, bounded=True
    ),
)
train_dataloader = dict(
    batch_size=2,
    sampler=dict(counts=(2,), num_batches=8),
    dataset=dict(
        datasets=dict(labelled=dict(pipeline=_base_.supervised_pipeline), unlabelled=None)
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=100),
)
