# UML, as its authors' repository has it, on I-SPY1: pathological complete response and tumour.
_base_ = [
    '../_base_/models/uml_res2net.py',
    '../_base_/datasets/ispy1_256x256.py',
    '../_base_/schedules/uml_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(mutual_head=dict(num_classes=2), decode_head=dict(num_classes=2))
val_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', group_by='patient_id'),
        dict(type='ClassificationMetric', group_by='patient_id'),
        dict(type='CalibrationMetric', task='cls'),
        dict(type='UncertaintyMetric', task='seg', measure='vacuity'),
        dict(type='UncertaintyMetric', task='cls', measure='vacuity'),
    ],
    selection_score=('cls/ACC', 'cls/AUC_softmax_alpha', 'cls/F1', 'seg/Dice.tumour'),
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='selection_score', rule='greater', interval=5))
