# 100 epochs of Adam. Every 8 epochs the learning rate is divided by 10: from epoch 24 on it is at
# most 1e-7 and hardly anything moves.
train_cfg = dict(type='JointEpochBasedTrainLoop', max_epochs=100)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = [dict(type='StepLR', step_size=8, gamma=0.1, by_epoch=True)]
