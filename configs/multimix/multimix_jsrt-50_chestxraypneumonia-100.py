_base_ = ['./multimix_jsrt-10_chestxraypneumonia-100.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            seg_labelled=dict(split='labelled_50'),
            seg_unlabelled=dict(split='unlabelled_50'),
        )
    )
)
