# A&D on Synapse: semi-supervised with imbalanced classes, 4 of 20 training volumes labelled. The
# published figures are means over the seeds 0, 1 and 666.
_base_ = [
    '../_base_/models/diffusion-vnet_3d.py',
    '../_base_/datasets/synapse_64x128x128.py',
    '../_base_/schedules/aggregate-decouple_301e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=14),
    denoising_stem=dict(num_classes=14),
    difficulty=dict(num_classes=14),
    test_cfg=dict(
        mode='slide', roi_size=(64, 128, 128), stride=(4, 16, 16), window_batch=2, bounded=True
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=1, save_best='seg/mean_Dice', rule='greater'),
    early_stopping=dict(type='JointEarlyStoppingHook', monitor='seg/mean_Dice', patience=100),
)
