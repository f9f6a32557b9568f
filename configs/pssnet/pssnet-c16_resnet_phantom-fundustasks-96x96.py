# PSSNet in small on made-up fundus photographs, for machines without a GPU; see
# pssnet-stage1-c16_resnet_phantom-fundustasks-96x96.py, whose model makes the pseudo labels.
_base_ = [
    '../_base_/models/pssnet-adversarial_swin-t.py',
    '../_base_/datasets/phantom-fundus-tasks-pseudo_96x96.py',
    '../_base_/schedules/pssnet_60k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    generator=dict(
        backbone=dict(
            _delete_=True,
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            stem_channels=16,
            base_channels=16,
            strides=(2, 2, 2, 2),
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type='GN', num_groups=4),
            zero_init_residual=False,
        ),
        decode_head=dict(
            decoder=dict(in_channels=(16, 32, 64, 128), channels=16),
            attention=dict(num_heads=2, window_size=6),
        ),
        auxiliary_head=dict(decoder=dict(in_channels=64, channels=16)),
    ),
    critic=dict(channels=(16, 32, 64, 128)),
)
max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# Critics, too, learn nothing in so short a training at the published rate.
optim_wrapper = dict(
    generator=dict(optimizer=dict(lr=8e-3)),
    critics=dict(optimizer=dict(lr=2e-3)),
    aux_critics=dict(optimizer=dict(lr=2e-3)),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=51),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=max_iters, by_epoch=False, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
