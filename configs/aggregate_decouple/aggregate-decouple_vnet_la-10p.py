# A&D on LA, 8 of 80 training volumes labelled.
_base_ = ['./aggregate-decouple_vnet_la-5p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(labelled=dict(split='labeled_0.1'), unlabelled=dict(split='unlabeled_0.1'))
    )
)
val_dataloader = dict(dataset=dict(split='eval_0.1'))
