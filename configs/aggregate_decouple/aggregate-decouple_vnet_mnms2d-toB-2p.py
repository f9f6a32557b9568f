# A&D on slices of M&Ms: 2 % labelled, tested on the unseen vendor B.
_base_ = ['./aggregate-decouple_vnet_mnms2d-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toB_labeled_0.02'),
            unlabelled=dict(split='train_toB_unlabeled_0.02'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toB_0.02'))
test_dataloader = dict(dataset=dict(split='test_toB_0.02'))
