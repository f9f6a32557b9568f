# multimix at half the width on small made-up chest X-rays: with two ranges of grey values, without
# a consistency of masks, and with the published steps of the learning rate.
_base_ = [
    '../_base_/models/multimix.py',
    '../_base_/datasets/phantom-chest-xrays_64x64.py',
    '../_base_/schedules/multimix_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(channels=(8, 16, 32, 64, 128)),
    decode_head=dict(in_channels=(8, 16, 32, 66, 128), channels=(8, 16, 32, 64)),
    cls_head=dict(in_channels=128),
)
train_cfg = dict(max_epochs=10, val_interval=2)
# A short budget needs a higher learning rate than the published one.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=1, save_best='selection_score', rule='greater')
)

# Images with a class in [0, 1], those with masks in [-1, 1].
cls_input = [dict(type='ToUnitRange'), dict(type='PackJointInputs')]
cls_labelled_pipeline = [
    *_base_.load,
    dict(
        type='MultiBranch',
        branches=_base_.branches,
        pipelines=dict(cls_labelled=[*_base_.weak_aug, *cls_input]),
    ),
]
cls_unlabelled_pipeline = [
    *_base_.load,
    dict(
        type='MultiBranch',
        branches=_base_.branches,
        pipelines=dict(
            cls_weak=[*_base_.weak_aug, *cls_input],
            cls_strong=[*_base_.strong_aug, *cls_input],
        ),
    ),
]
cls_test_pipeline = [*_base_.load_for_test, *cls_input]
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            cls_labelled=dict(pipeline=cls_labelled_pipeline),
            cls_unlabelled=dict(pipeline=cls_unlabelled_pipeline),
        )
    ),
)
val_dataloader = dict(dataset=dict(datasets=dict(kermany=dict(pipeline=cls_test_pipeline))))
test_dataloader = dict(
    dataset=dict(
        datasets=dict(
            kermany=dict(pipeline=cls_test_pipeline), nih=dict(pipeline=cls_test_pipeline)
        )
    )
)
