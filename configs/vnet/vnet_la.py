# V-Net on all 80 training volumes of LA.
_base_ = ['./vnet_la-5p.py']
train_dataloader = dict(
    sampler=dict(num_batches=None), dataset=dict(datasets=dict(labelled=dict(split='train')))
)
