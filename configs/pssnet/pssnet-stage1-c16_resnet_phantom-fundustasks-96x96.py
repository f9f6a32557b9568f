# The first stage of PSSNet in small on made-up fundus photographs, for machines without a GPU: a
# small ResNet in place of the Swin-T, which learns too little in minutes without weights of
# ImageNet; decoders of 16 channels; and a learning rate for a short training.
_base_ = [
    '../_base_/models/pssnet_swin-t.py',
    '../_base_/datasets/phantom-fundus-tasks_96x96.py',
    '../_base_/schedules/pssnet-generator_40k.py',
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
        decode_head=dict(decoder=dict(in_channels=(16, 32, 64, 128), channels=16)),
        auxiliary_head=dict(decoder=dict(in_channels=64, channels=16)),
    ),
)
max_iters = 1600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=8e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=51),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=max_iters, by_epoch=False, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
