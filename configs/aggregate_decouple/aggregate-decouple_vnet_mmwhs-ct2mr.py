# A&D on MMWHS: adaptation from labelled CT to unlabelled MR.
_base_ = ['./aggregate-decouple_vnet_mmwhs-mr2ct.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(split='train_ct2mr_labeled'),
            unlabelled=dict(split='train_ct2mr_unlabeled'),
        )
    )
)
val_dataloader = dict(dataset=dict(split='eval_ct2mr'))
test_dataloader = dict(dataset=dict(split='test_mr'))
