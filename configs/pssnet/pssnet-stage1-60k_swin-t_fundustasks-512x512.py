# Stage 1 in 60,000 iterations, from which the published pseudo labels probably come.
_base_ = ['./pssnet-stage1_swin-t_fundustasks-512x512.py']
max_iters = 60000
train_cfg = dict(max_iters=max_iters, val_interval=6000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1501),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
default_hooks = dict(checkpoint=dict(interval=6000))
