# Where all classes are known, the labelled images serve as the unlabelled ones, too.
_base_ = ['./multimix_jsrt-10_chestxraypneumonia-100.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            cls_labelled=dict(split='train'),
            cls_unlabelled=dict(split='train'),
        )
    )
)
