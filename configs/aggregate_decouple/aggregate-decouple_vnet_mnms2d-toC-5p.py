# A&D on slices of M&Ms: 5 % labelled, tested on the unseen vendor C.
_base_ = ['./aggregate-decouple_vnet_mnms2d-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toC_labeled_0.05'),
            unlabelled=dict(split='train_toC_unlabeled_0.05'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toC_0.05'))
test_dataloader = dict(dataset=dict(split='test_toC_0.05'))
