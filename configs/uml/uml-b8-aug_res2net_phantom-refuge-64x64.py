# The small UML with flips and changes of colour in training, which help it on the second camera.
# tools/quickstart.sh trains it.
_base_ = ['./uml-b8_res2net_phantom-refuge-64x64.py']
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadJointImage'),
            dict(type='LoadJointAnnotations'),
            dict(type='mmcv.RandomFlip', prob=0.5),
            dict(type='mmpretrain.ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
            dict(type='PackJointInputs'),
        ]
    )
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
