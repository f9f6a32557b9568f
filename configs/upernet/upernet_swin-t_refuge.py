# UPerNet on a Swin-T, with a linear classifier beside it, on REFUGE: glaucoma, disc rim and cup.
_base_ = [
    '../_base_/models/joint-upernet_swin-t.py',
    '../_base_/datasets/refuge_256x256.py',
    '../_base_/schedules/upernet_100e.py',
    '../_base_/default_runtime.py',
]
# A batch of one image has no statistics behind the pooling to a single pixel.
train_dataloader = dict(drop_last=True)
val_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        dict(type='ClassificationMetric'),
        dict(type='CalibrationMetric', task='seg'),
        dict(type='CalibrationMetric', task='cls'),
        dict(type='UncertaintyMetric', task='seg', measure='predictive_entropy'),
        dict(type='UncertaintyMetric', task='cls', measure='predictive_entropy'),
    ],
    selection_score=('cls/AUC', 'seg/Dice.rim', 'seg/Dice.cup'),
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='selection_score', rule='greater', interval=5))
