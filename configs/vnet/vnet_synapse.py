# V-Net on all 20 training volumes of Synapse.
_base_ = ['./vnet_synapse-20p.py']
train_dataloader = dict(
    sampler=dict(num_batches=None), dataset=dict(datasets=dict(labelled=dict(split='train')))
)
