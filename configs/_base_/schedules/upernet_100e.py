# 100 epochs of AdamW: 5 of linear warm-up, then linear decay to 0. Norms, biases of positions and
# the like are not decayed.
train_cfg = dict(type='JointEpochBasedTrainLoop', max_epochs=100, val_begin=1, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, custom_keys={'relative_position_bias_table': dict(decay_mult=0.0)}
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        begin=0,
        end=5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=0.0,
        begin=5,
        end=100,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
