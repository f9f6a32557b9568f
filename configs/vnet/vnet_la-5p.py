# V-Net on labels alone: 4 volumes of LA. As many iterations as A&D makes.
_base_ = [
    '../_base_/models/vnet_3d.py',
    '../_base_/datasets/la_112x112x80.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=2),
    test_cfg=dict(
        mode='slide', roi_size=(112, 112, 80), stride=(4, 16, 16), window_batch=2, bounded=True
    ),
)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(counts=(4,), num_batches=19),
    dataset=dict(
        datasets=dict(labelled=dict(pipeline=_base_.supervised_pipeline), unlabelled=None)
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=50),
)
