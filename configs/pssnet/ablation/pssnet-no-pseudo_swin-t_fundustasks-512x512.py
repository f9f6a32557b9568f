# Stage 2 without pseudo labels: labels, critics and attention.
_base_ = ['../pssnet_swin-t_fundustasks-512x512.py']
model = dict(pseudo_weights=None)
train_dataloader = dict(
    batch_size=3,
    sampler=dict(counts=(1, 1, 1)),
    dataset=dict(datasets=dict(reta_pseudo=None, ddr_pseudo=None, refuge_pseudo=None)),
)
