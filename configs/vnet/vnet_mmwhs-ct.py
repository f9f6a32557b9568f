# V-Net on the 13 CT volumes of MMWHS that the adaptation from MR gets without labels, tested on CT:
# the upper bound of the adaptation.
_base_ = ['./vnet_mmwhs-mr2ct.py']
train_dataloader = dict(
    sampler=dict(num_batches=None),
    dataset=dict(datasets=dict(labelled=dict(split='train_mr2ct_unlabeled'))),
)
