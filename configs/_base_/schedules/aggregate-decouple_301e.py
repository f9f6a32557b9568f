# 301 epochs of SGD. The learning rate of epoch e >= 1 is 0.01 (1 - (e - 1) / 300)^0.9: it falls one
# epoch late and is not 0 in the last one.
train_cfg = dict(type='JointEpochBasedTrainLoop', max_epochs=301)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-2, momentum=0.9, nesterov=True, weight_decay=3e-5),
)
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end=302, by_epoch=True)]
