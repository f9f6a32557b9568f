# A small MC-dropout U-Net on small images, for machines without a GPU: a quarter of the width,
# 64x64. It trains on made-up images of any size.
_base_ = ['./mc-unet_isic2016-128x128.py']
data_root = 'data/phantoms/isic2016/'
train_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PillowResize', size=(64, 64)),
    dict(type='PackJointInputs'),
]
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='PillowResize', size=(64, 64)),
    dict(type='LoadJointAnnotations'),
    dict(type='PackJointInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
model = dict(backbone=dict(base_channels=8), decode_head=dict(in_channels=8, channels=8))
# The published rate of 1e-5 needs thousands of iterations, and the Dice of few validation images
# is too unsteady to lower it five times an epoch.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=24, val_per_epoch=1)
