# 60,000 iterations of a generator against its critics and auxiliary critics, an optimizer for each.
# Iteration k has the learning rate lr (1 - k / 60,000), and below k = 1,500 as a warm-up times
# 1 - (1 - k / 1,500) (1 - 1e-6). Another length changes max_iters and, in both schedulers, the end.
max_iters = 60000
train_cfg = dict(type='JointIterBasedTrainLoop', max_iters=max_iters, val_interval=6000)
val_cfg = dict()
test_cfg = dict()
# Group norms (gn) and biases do decay, as in the original.
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    constructor='MultiOptimWrapperConstructor',
    generator=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
        paramwise_cfg=dict(
            custom_keys=dict(
                norm=no_decay, relative_position_bias_table=no_decay, absolute_pos_embed=no_decay
            )
        ),
    ),
    critics=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.99))),
    aux_critics=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.99))),
)
# Both act on every optimizer, and multiply.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1501),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')
