# Learning from sets of which each labels some tasks, on another network and without all that makes
# PSSNet: a ResNet-18 with a small convolutional decoder for each task. What a set labels is its
# `annotated_tasks`, and what is trained on it the table `weights`.
_base_ = [
    '../_base_/models/pssnet_swin-t.py',
    '../_base_/datasets/fundus-tasks_512x512.py',
    '../_base_/schedules/pssnet-generator_40k.py',
    '../_base_/default_runtime.py',
]
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    generator=dict(
        backbone=dict(
            _delete_=True,
            type='mmpretrain.ResNet',
            depth=18,
            out_indices=(0, 1, 2, 3),
            norm_cfg=norm_cfg,
            style='pytorch',
        ),
        decode_head=dict(
            decoder=dict(
                _delete_=True,
                type='mmseg.FCNHead',
                in_channels=(64, 128, 256, 512),
                in_index=(0, 1, 2, 3),
                input_transform='resize_concat',
                channels=64,
                num_convs=1,
                concat_input=False,
                norm_cfg=norm_cfg,
            ),
        ),
        auxiliary_head=None,
    ),
    aux_weight=0.0,
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4000))
log_processor = dict(by_epoch=False)
