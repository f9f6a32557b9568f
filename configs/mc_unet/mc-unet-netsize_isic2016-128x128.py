# The MC-dropout U-Net, tested at the network's 128x128 in place of the photographs' own size.
_base_ = ['./mc-unet_isic2016-128x128.py']
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadJointImage'),
            dict(type='LoadJointAnnotations'),
            dict(type='PillowResize', size=(128, 128)),
            dict(type='PackJointInputs'),
        ]
    )
)
