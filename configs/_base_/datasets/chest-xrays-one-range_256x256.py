# Chest X-rays at 256x256, all images in [-1, 1]; otherwise as chest-xrays_256x256.py.
_base_ = ['./chest-xrays_256x256.py']
signed = [dict(type='ToUnitRange', signed=True), dict(type='PackJointInputs')]
cls_labelled_pipeline = [
    *_base_.load,
    dict(
        type='MultiBranch',
        branches=_base_.branches,
        pipelines=dict(cls_labelled=[*_base_.weak_aug, *signed]),
    ),
]
cls_unlabelled_pipeline = [
    *_base_.load,
    dict(
        type='MultiBranch',
        branches=_base_.branches,
        pipelines=dict(
            cls_weak=[*_base_.weak_aug, *signed],
            cls_strong=[*_base_.strong_aug, *signed],
        ),
    ),
]
cls_test_pipeline = [*_base_.load_for_test, *signed]
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            cls_labelled=dict(pipeline=cls_labelled_pipeline),
            cls_unlabelled=dict(pipeline=cls_unlabelled_pipeline),
        )
    )
)
val_dataloader = dict(dataset=dict(datasets=dict(kermany=dict(pipeline=cls_test_pipeline))))
test_dataloader = dict(
    dataset=dict(
        datasets=dict(
            kermany=dict(pipeline=cls_test_pipeline), nih=dict(pipeline=cls_test_pipeline)
        )
    )
)
