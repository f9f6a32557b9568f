# The network of stage 1 for optic disc and cup alone, one image in a batch.
_base_ = ['../pssnet-stage1_swin-t_fundustasks-512x512.py']
model = dict(
    tasks=dict(_delete_=True, odoc=dict(disc=(1, 2), cup=(2,))),
    weights=dict(_delete_=True, refuge=dict(odoc=1.0)),
)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(counts=(1,)),
    dataset=dict(datasets=dict(reta=None, ddr=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(drive=None, stare=None, ddr=None)))
val_evaluator = dict(metrics=[_base_.refuge_metric])
test_dataloader = dict(
    dataset=dict(datasets=dict(drive=None, stare=None, aria=None, ddr=None, idrid=None))
)
test_evaluator = dict(metrics=[_base_.refuge_metric])
