# As pssnet_60k.py in 40,000 iterations, of a generator without critics.
max_iters = 40000
train_cfg = dict(type='JointIterBasedTrainLoop', max_iters=max_iters, val_interval=4000)
val_cfg = dict()
test_cfg = dict()
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=no_decay, relative_position_bias_table=no_decay, absolute_pos_embed=no_decay
        )
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1501),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
