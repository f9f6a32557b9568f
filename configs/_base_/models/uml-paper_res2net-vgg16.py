# UML as the paper's framework figure has it: Res2Net-50-26w-4s and VGG16-BN encoders.
annealing = 0.5  # share of the training after which the divergence term has full weight
model = dict(
    type='UMLPaper',
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
    seg_backbone=dict(type='VGG16BN', base_channels=64, pretrained=None),
    neck=dict(
        type='MutualFeatureMixer',
        cls_channels=(64, 256, 512, 1024),
        seg_channels=(64, 128, 256, 512),
        out_channels=(64, 128, 256, None),
        branch_channels=256,
    ),
    mutual_head=dict(
        type='SingleMutualEvidenceHead',
        in_channels=(64, 128, 256, 512),
        num_classes=3,
        loss_evidential=dict(type='EvidentialLoss', annealing=annealing, loss_weight=0.1),
        loss_dice=dict(type='LogDiceLoss', loss_weight=0.1),
    ),
    decode_head=dict(
        type='ReliableMaskHead',
        in_channels=(64, 128, 256, 512),
        mixed_channels=512,
        num_classes=3,
        loss_dice=dict(type='LogDiceLoss', loss_weight=0.4),
    ),
    cls_head=dict(
        type='GuidedClsHead',
        in_channels=1024 + 512,
        guide_channels=128,
        hidden_channels=1024,
        num_classes=2,
        loss=dict(type='EvidentialLoss', annealing=annealing, loss_weight=0.5),
        stage_dropout=0.0,
        guide_dropout_at='each',
    ),
    init_cfg=dict(type='KaimingConvWeight'),
)
