# UMTL: both tasks, labels alone, no bridge; as many iterations as with unlabelled images.
_base_ = ['../multimix_jsrt-10_chestxraypneumonia-100.py']
model = dict(bridge=None, decode_head=dict(in_channels=(16, 32, 64, 128, 256)), loss_pseudo=None)
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
