# 100 epochs of Adam; the learning rate is constant for 30 epochs, then decays to a floor.
train_cfg = dict(type='JointEpochBasedTrainLoop', max_epochs=100, val_begin=1, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-5)
)
param_scheduler = [
    dict(type='PolyAfterLR', change_epoch=30, power=0.9, min_lr=1e-5, by_epoch=False)
]
