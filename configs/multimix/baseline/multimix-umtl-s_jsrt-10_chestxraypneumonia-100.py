# UMTL-S: both tasks, labels alone, with the saliency bridge.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(loss_pseudo=None)
train_dataloader = dict(
    batch_size=20,
    sampler=dict(
        _delete_=True,
        type='MultiSourceSampler',
        counts=(10, 10),
        num_batches=459,
        whole_passes=True,
    ),
    dataset=dict(datasets=dict(seg_unlabelled=None, cls_unlabelled=None)),
)
