# The MC-dropout U-Net on ISIC 2016: the skin lesion, with uncertainty in three ways.
_base_ = [
    '../_base_/models/mc-unet.py',
    '../_base_/datasets/isic2016_128x128.py',
    '../_base_/schedules/mc-unet_20e.py',
    '../_base_/default_runtime.py',
]
# Where neither image nor prediction has a lesion, Dice is 1.
val_evaluator = dict(
    metrics=[dict(type='SegmentationMetric', measures=('Dice', 'IoU'), empty_dice=1.0)],
)
test_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', empty_dice=1.0),
        dict(type='CalibrationMetric', task='seg'),
        dict(type='UncertaintyMetric', task='seg', measure='predictive_entropy'),
        dict(type='CaseUncertaintyMetric', measure='predictive_entropy'),
    ],
)
# Checkpoints by iterations, since validations lie within the epochs; 192 are one epoch.
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(
        by_epoch=False,
        interval=192,
        max_keep_ckpts=1,
        save_best='seg/Dice.lesion',
        rule='greater',
    ),
    prediction_images=dict(interval=20),
)
# Without --uq the prediction is that of one plain pass. With it:
uq_options = dict(mc_dropout=dict(num_samples=50), tta=dict(source='image', shrink=0.8))
