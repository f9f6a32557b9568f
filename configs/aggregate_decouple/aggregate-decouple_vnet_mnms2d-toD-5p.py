# A&D on slices of M&Ms: 5 % labelled, tested on the unseen vendor D.
_base_ = ['./aggregate-decouple_vnet_mnms2d-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toD_labeled_0.05'),
            unlabelled=dict(split='train_toD_unlabeled_0.05'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toD_0.05'))
test_dataloader = dict(dataset=dict(split='test_toD_0.05'))
