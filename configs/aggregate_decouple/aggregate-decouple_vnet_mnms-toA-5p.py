# A&D on M&Ms: 5 % labelled, tested on the unseen vendor A.
_base_ = ['./aggregate-decouple_vnet_mnms-toA-2p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_toA_labeled_0.05'),
            unlabelled=dict(split='train_toA_unlabeled_0.05'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_toA_0.05'))
test_dataloader = dict(dataset=dict(split='test_toA_0.05'))
