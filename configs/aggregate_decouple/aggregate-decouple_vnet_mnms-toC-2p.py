# A&D on M&Ms: 2 % labelled, tested on the unseen vendor C.
_base_ = ['./aggregate-decouple_vnet_mnms-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toC_labeled_0.02'),
            unlabelled=dict(split='train_toC_unlabeled_0.02'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toC_0.02'))
test_dataloader = dict(dataset=dict(split='test_toC_0.02'))
