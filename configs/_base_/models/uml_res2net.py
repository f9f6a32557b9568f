# UML as its authors' repository has it: two Res2Net-50-26w-4s encoders (published width 64).
annealing = 0.5  # share of the training after which the divergence term has full weight
model = dict(
    type='UML',
    memory_format='channels_last',
    data_preprocessor=dict(
        type='JointDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        pad_val=0,
        seg_pad_val=255,
        size_divisor=8,
        test_cfg=dict(size_divisor=8),
    ),
    backbone=dict(type='Res2NetV1b', base_channels=64, pretrained=None, recompute=True),
    seg_backbone=dict(type='Res2NetV1b', base_channels=64, pretrained=None, recompute=True),
    neck=dict(
        type='MutualFeatureMixer',
        cls_channels=(64, 256, 512, 1024),
        seg_channels=(64, 256, 512, 1024),
        out_channels=(64, 256, 512, 1024),
        branch_channels=256,
    ),
    mutual_head=dict(
        type='MutualEvidenceHead',
        in_channels=(64, 256, 512, 1024),
        num_classes=3,
        loss_evidential=dict(type='EvidentialLoss', annealing=annealing, loss_weight=0.1),
        loss_dice=dict(type='LogDiceLoss', loss_weight=0.1),
    ),
    decode_head=dict(
        type='NavigatedHead',
        in_channels=(64, 256, 512, 1024),
        num_classes=3,
        loss_dice=dict(type='LogDiceLoss', loss_weight=0.4),
        loss_ce=dict(type='MaskedCrossEntropyLoss', loss_weight=0.4),
    ),
    cls_head=dict(
        type='GuidedClsHead',
        in_channels=1024,
        guide_channels=64,
        hidden_channels=1024,
        num_classes=2,
        loss=dict(type='EvidentialLoss', annealing=annealing, loss_weight=0.5),
    ),
    init_cfg=dict(type='KaimingConvWeight'),
)
