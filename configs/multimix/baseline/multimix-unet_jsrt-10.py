# U-Net: lungs alone, labels alone; as many iterations as with the unlabelled images of the others.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(
    bridge=None,
    decode_head=dict(in_channels=(16, 32, 64, 128, 256)),
    cls_head=None,
    loss_pseudo=None,
)
train_dataloader = dict(
    batch_size=10,
    sampler=dict(
        _delete_=True,
        type='MultiSourceSampler',
        counts=(10,),
        num_batches=459,
        whole_passes=True,
    ),
    dataset=dict(datasets=dict(seg_unlabelled=None, cls_labelled=None, cls_unlabelled=None)),
)
val_dataloader = dict(dataset=dict(datasets=dict(kermany=None)))
val_evaluator = dict(metrics=_base_.seg_val_metrics, selection_score=('seg/mean_Dice',))
test_dataloader = dict(dataset=dict(datasets=dict(kermany=None, nih=None)))
test_evaluator = dict(metrics=_base_.seg_test_metrics)
