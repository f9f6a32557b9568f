# A&D on Synapse, 8 of 20 training volumes labelled.
_base_ = ['./aggregate-decouple_vnet_synapse-20p.py']
train_dataloader = dict(
    dataset=dict(
        datasets=dict(labelled=dict(split='labeled_0.4'), unlabelled=dict(split='unlabeled_0.4'))
    )
)
