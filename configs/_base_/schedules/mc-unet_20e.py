# 20 epochs of RMSprop with clipped gradients. The learning rate is divided by 10 whenever the
# validation Dice has not risen for more than 5 validations, of which an epoch has about 5: with
# 765 images in batches of 4, one after every 38 of the 192 iterations.
train_cfg = dict(type='JointEpochBasedTrainLoop', max_epochs=20, val_per_epoch=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='RMSprop', lr=1e-5, alpha=0.99, eps=1e-8, momentum=0.9, weight_decay=1e-8, foreach=True
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='PlateauLR',
        monitor='seg/Dice.lesion',
        rule='greater',
        factor=0.1,
        patience=5,
        threshold=1e-4,
    )
]
