# Two partly labelled sets in one training: the rim is annotated in every second image of REFUGE,
# the cup in the others. What an image is not annotated for may hide in its background, and the loss
# merges it there. Batches are half of each; any data sets can stand here.
_base_ = ['./upernet_swin-t_refuge.py']
part = dict(
    type='REFUGEJointDataset',
    data_root='data/refuge/',
    split='train',
    cache=True,
    pipeline=_base_.train_pipeline,
)
train_dataloader = dict(
    batch_size=2,
    drop_last=False,
    sampler=dict(_delete_=True, type='MultiSourceSampler', counts=(1, 1)),
    dataset=dict(
        _delete_=True,
        type='MultiSourceDataset',
        datasets=dict(
            rim=dict(**part, annotated_classes=(1,), indices=list(range(0, 400, 2))),
            cup=dict(**part, annotated_classes=(2,), indices=list(range(1, 400, 2))),
        ),
    ),
)
