# Where all masks are known, the labelled images serve as the unlabelled ones, too.
_base_ = ['./multimix-fixed_jsrt-10_chestxraypneumonia-100.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            seg_labelled=dict(split='train'),
            seg_unlabelled=dict(split='train'),
        )
    )
)
