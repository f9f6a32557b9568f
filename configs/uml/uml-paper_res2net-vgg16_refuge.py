# UML, as the paper's framework figure has it, on REFUGE.
_base_ = [
    '../_base_/models/uml-paper_res2net-vgg16.py',
    '../_base_/datasets/refuge_256x256.py',
    '../_base_/schedules/uml_100e.py',
    '../_base_/default_runtime.py',
]
val_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        dict(type='ClassificationMetric'),
        dict(type='CalibrationMetric', task='cls'),
        dict(type='UncertaintyMetric', task='seg', measure='vacuity'),
        dict(type='UncertaintyMetric', task='cls', measure='vacuity'),
    ],
    # The 2023 code selects by the mean of these four.
    selection_score=('cls/ACC', 'cls/F1', 'seg/Dice.rim', 'seg/Dice.cup'),
    selection_reduce='mean',
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='selection_score', rule='greater', interval=5))
