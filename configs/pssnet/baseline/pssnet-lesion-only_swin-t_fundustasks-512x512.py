# The network of stage 1 for lesions alone, one image in a batch.
_base_ = ['../pssnet-stage1_swin-t_fundustasks-512x512.py']
model = dict(
    tasks=dict(_delete_=True, lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,))),
    weights=dict(_delete_=True, ddr=dict(lesion=1.0)),
)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(counts=(1,)),
    dataset=dict(datasets=dict(reta=None, refuge=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(drive=None, stare=None, refuge=None)))
val_evaluator = dict(metrics=[_base_.ddr_metric])
test_dataloader = dict(dataset=dict(datasets=dict(drive=None, stare=None, aria=None, refuge=None)))
test_evaluator = dict(metrics=[_base_.ddr_metric, _base_.idrid_metric])
test_sets = dict(OD=None)
