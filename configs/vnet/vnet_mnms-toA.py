# V-Net on the 98 % of the volumes of three vendors of M&Ms that the semi-supervised tasks get
# without labels, tested on vendor A.
_base_ = ['./vnet_mnms-toA-2p.py']
train_dataloader = dict(
    sampler=dict(num_batches=None),
    dataset=dict(datasets=dict(labelled=dict(split='train_toA_unlabeled_0.02'))),
)
