# UML on REFUGE; tests average over 20 passes with its dropout switched on, in place of reading the
# evidence of one pass.
_base_ = ['./uml_res2net_refuge.py']
uq = dict(type='mc_dropout', num_samples=20)
# Passes have probabilities, no evidence: what reads vacuity or alpha has nothing to read.
test_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        dict(type='ClassificationMetric'),
        dict(type='CalibrationMetric', task='seg'),
        dict(type='CalibrationMetric', task='cls'),
        dict(type='UncertaintyMetric', task='seg', measure='predictive_entropy'),
        dict(type='UncertaintyMetric', task='seg', measure='mutual_information'),
        dict(type='UncertaintyMetric', task='cls', measure='predictive_entropy'),
        dict(type='UncertaintyMetric', task='cls', measure='mutual_information'),
    ],
    selection_score=(),
)
