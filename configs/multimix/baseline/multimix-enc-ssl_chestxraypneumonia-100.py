# EncSSL: the encoder and its class head with pseudo-labels.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(bridge=None, decode_head=None)
train_dataloader = dict(
    batch_size=20,
    sampler=dict(counts=(10, 10), epoch_source=1),
    dataset=dict(datasets=dict(seg_labelled=None, seg_unlabelled=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(jsrt=None)))
val_evaluator = dict(metrics=_base_.cls_val_metrics, selection_score=('cls/ACC',))
test_dataloader = dict(dataset=dict(datasets=dict(jsrt=None, montgomery=None)))
test_evaluator = dict(metrics=_base_.cls_test_metrics)
