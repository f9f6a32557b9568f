# MultiMix: U-Net with instance norms, a class head on its coarsest map, the saliency of the class
# beside the map of an eighth of the size. L = L_cls + 5 L_dice + 0.25 L_ssl + 0.01 L_kl.
model = dict(
    type='MultiMix',
    # Images come in the ranges that their pipelines give them.
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=dict(type='JointDataPreprocessor', mean=[0.0], std=[1.0]),
    ),
    backbone=dict(
        type='InstanceUNetEncoder', in_channels=1, channels=(16, 32, 64, 128, 256), dropout=0.25
    ),
    bridge=dict(type='SaliencyBridge', level=3),
    decode_head=dict(
        type='InstanceUNetHead',
        in_channels=(16, 32, 64, 130, 256),  # image and saliency stand beside the 128
        channels=(16, 32, 64, 128),
        num_classes=2,
        single_logit=True,
        dropout=0.25,
        loss_decode=dict(type='SampleDiceLoss', smooth=1.0, loss_weight=5.0),
    ),
    cls_head=dict(
        type='PooledLinearClsHead',
        in_channels=256,
        num_classes=2,
        loss=dict(type='MaskedCrossEntropyLoss'),
    ),
    loss_pseudo=dict(type='ConfidentLabelLoss', threshold=0.7, loss_weight=0.25),
    # Over the one channel of a sigmoid head, as in the original: the term is 0.
    kl='single_channel',
    kl_weight=0.01,
)
