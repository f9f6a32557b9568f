# Enc: the encoder and its class head, labels alone; as many iterations as with unlabelled images.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(bridge=None, decode_head=None, loss_pseudo=None)
train_dataloader = dict(
    batch_size=10,
    sampler=dict(
        _delete_=True,
        type='MultiSourceSampler',
        counts=(10,),
        num_batches=459,
        whole_passes=True,
    ),
    dataset=dict(datasets=dict(seg_labelled=None, seg_unlabelled=None, cls_unlabelled=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(jsrt=None)))
val_evaluator = dict(metrics=_base_.cls_val_metrics, selection_score=('cls/ACC',))
test_dataloader = dict(dataset=dict(datasets=dict(jsrt=None, montgomery=None)))
test_evaluator = dict(metrics=_base_.cls_test_metrics)
