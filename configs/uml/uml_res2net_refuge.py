# UML, as its authors' repository has it, on REFUGE: glaucoma, disc rim and cup.
_base_ = [
    '../_base_/models/uml_res2net.py',
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
    selection_score=(
        'cls/ACC',
        'cls/AUC_softmax_alpha',
        'cls/F1',
        'seg/Dice.rim',
        'seg/Dice.cup',
    ),
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='selection_score', rule='greater', interval=5))
