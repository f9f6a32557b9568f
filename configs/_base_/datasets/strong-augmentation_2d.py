# As in 3-D, with wider ranges.
augmentation = dict(
    type='RandomSubset',
    num=3,
    prob=0.7,
    transforms=[
        dict(type='RandomRotatePatch', degrees=(-15.0, 15.0)),
        dict(type='RandomScalePatch', below=(0.5, 1.0), above=(1.0, 1.0)),
        dict(type='RandomBlurPatch', sigma=(0.7, 1.3)),
        dict(type='RandomBrightnessPatch', factor=(0.5, 2.0)),
        dict(type='RandomContrastPatch', below=(0.5, 1.0), above=(1.0, 1.5)),
        dict(type='RandomGammaPatch', below=(0.5, 1.0), above=(1.0, 2.0)),
    ],
)
