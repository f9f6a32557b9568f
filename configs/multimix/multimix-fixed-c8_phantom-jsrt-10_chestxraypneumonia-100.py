# multimix-fixed at half the width on small made-up chest X-rays, for machines without a GPU.
_base_ = [
    '../_base_/models/multimix.py',
    '../_base_/datasets/phantom-chest-xrays_64x64.py',
    '../_base_/schedules/multimix_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(channels=(8, 16, 32, 64, 128)),
    decode_head=dict(in_channels=(8, 16, 32, 66, 128), channels=(8, 16, 32, 64)),
    cls_head=dict(in_channels=128),
    kl='bernoulli',
)
train_cfg = dict(max_epochs=10, val_interval=2)
# A short budget needs a higher learning rate than the published one.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=10, by_epoch=True)]
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=1, save_best='selection_score', rule='greater')
)
