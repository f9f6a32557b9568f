# The same network; tests average over 20 passes with the head's dropout switched on.
_base_ = ['./upernet_swin-t_refuge.py']
uq = dict(type='mc_dropout', num_samples=20)
test_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        dict(type='ClassificationMetric'),
        dict(type='CalibrationMetric', task='seg'),
        dict(type='CalibrationMetric', task='cls'),
        dict(type='UncertaintyMetric', task='seg', measure='predictive_entropy'),
        dict(type='UncertaintyMetric', task='seg', measure='mutual_information'),
        dict(type='UncertaintyMetric', task='cls', measure='predictive_entropy'),
    ],
)
