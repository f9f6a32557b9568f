# Of six operations three are drawn, and each of these acts with probability 0.7.
augmentation = dict(
    type='RandomSubset',
    num=3,
    prob=0.7,
    transforms=[
        dict(type='RandomRotatePatch', degrees=(-15.0, 15.0)),
        dict(type='RandomScalePatch', below=(0.7, 1.0), above=(1.0, 1.0)),
        dict(type='RandomBlurPatch', sigma=(0.7, 1.3)),
        dict(type='RandomBrightnessPatch', factor=(0.7, 1.3)),
        dict(type='RandomContrastPatch', below=(0.7, 1.0), above=(1.0, 1.3)),
        dict(type='RandomGammaPatch', below=(0.7, 1.0), above=(1.0, 1.3)),
    ],
)
