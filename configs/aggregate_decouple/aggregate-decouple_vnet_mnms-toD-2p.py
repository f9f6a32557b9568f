# A&D on M&Ms: 2 % labelled, tested on the unseen vendor D.
_base_ = ['./aggregate-decouple_vnet_mnms-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toD_labeled_0.02'),
            unlabelled=dict(split='train_toD_unlabeled_0.02'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toD_0.02'))
test_dataloader = dict(dataset=dict(split='test_toD_0.02'))
