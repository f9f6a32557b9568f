# The network of stage 1 for vessels alone, one image in a batch.
_base_ = ['../pssnet-stage1_swin-t_fundustasks-512x512.py']
model = dict(
    tasks=dict(_delete_=True, vessel=dict(vessel=(1,))),
    weights=dict(_delete_=True, reta=dict(vessel=1.0)),
)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(counts=(1,)),
    dataset=dict(datasets=dict(ddr=None, refuge=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(ddr=None, refuge=None)))
val_evaluator = dict(metrics=[_base_.drive_metric, _base_.stare_metric])
test_dataloader = dict(dataset=dict(datasets=dict(ddr=None, idrid=None, refuge=None)))
test_evaluator = dict(metrics=[_base_.drive_metric, _base_.stare_metric, _base_.aria_metric])
test_sets = dict(OD=None)
