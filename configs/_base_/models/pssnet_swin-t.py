# A Swin-T that three UPerNet decoders share, one for each task: the first stage of PSSNet, in which
# each data set trains the one task that it labels.
model = dict(
    type='MultiTaskModel',
    tasks=dict(
        vessel=dict(vessel=(1,)),
        lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
        odoc=dict(disc=(1, 2), cup=(2,)),
    ),
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=dict(
            type='JointDataPreprocessor',
            mean=[95.523, 57.776, 25.422],
            std=[58.273, 35.645, 16.790],
            size_divisor=32,
            test_cfg=dict(size_divisor=32),
        ),
    ),
    generator=dict(
        type='MultiTaskGenerator',
        backbone=dict(
            type='mmseg.SwinTransformer',
            embed_dims=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
            drop_path_rate=0.3,
            out_indices=(0, 1, 2, 3),
        ),
        decode_head=dict(
            type='TaskDecodeHead',
            decoder=dict(
                type='mmseg.UPerHead',
                in_channels=(96, 192, 384, 768),
                in_index=(0, 1, 2, 3),
                pool_scales=(1, 2, 3, 6),
                channels=128,
                norm_cfg=dict(type='GN', num_groups=1),
            ),
            dropout_ratio=0.1,
        ),
        auxiliary_head=dict(
            type='TaskDecodeHead',
            decoder=dict(
                type='mmseg.FCNHead',
                in_channels=384,
                in_index=2,
                channels=128,
                num_convs=1,
                concat_input=False,
                norm_cfg=dict(type='GN', num_groups=1),
            ),
            dropout_ratio=0.1,
        ),
    ),
    weights=dict(
        reta=dict(vessel=1.0),
        ddr=dict(lesion=1.0),
        refuge=dict(odoc=1.0),
    ),
    loss=dict(type='TaskDiceLoss'),
    aux_weight=0.4,
)
