# A&D on Synapse without any saving in the model or in the loading of data: the yardstick of
# docs/benchmarks.md. Run with PYTHONPATH=. from the root of the repository.
_base_ = ['../../configs/aggregate_decouple/aggregate-decouple_vnet_synapse-20p.py']
custom_imports = dict(imports=['tests.yardsticks.aggregate_decouple'])
model = dict(type='PlainAggregateDecouple', memory_format='channels_first')
augmentation = dict(
    type='RandomSubset',
    num=3,
    prob=0.7,
    transforms=[
        dict(type='RandomRotatePatch', degrees=(-15.0, 15.0), fast=False),
        dict(type='RandomScalePatch', below=(0.7, 1.0), above=(1.0, 1.0), fast=False),
        dict(type='RandomBlurPatch', sigma=(0.7, 1.3)),
        dict(type='RandomBrightnessPatch', factor=(0.7, 1.3)),
        dict(type='RandomContrastPatch', below=(0.7, 1.0), above=(1.0, 1.3)),
        dict(type='RandomGammaPatch', below=(0.7, 1.0), above=(1.0, 1.3)),
    ],
)
branches = ('labelled', 'unlabelled')
train_dataloader = dict(
    dataset=dict(
        datasets=dict(
            labelled=dict(
                pipeline=[
                    dict(type='PlainLoadVolume', clip=(-75, 275)),
                    dict(type='LoadVolumeAnnotations'),
                    dict(type='RandomCropPatch', size=(64, 128, 128)),
                    augmentation,
                    dict(
                        type='MultiBranch',
                        branches=branches,
                        pipelines=dict(labelled=[dict(type='PackJointInputs')]),
                    ),
                ]
            ),
            unlabelled=dict(
                pipeline=[
                    dict(type='PlainLoadVolume', clip=(-75, 275)),
                    dict(type='PlainZeroLabels'),
                    dict(type='RandomCropPatch', size=(64, 128, 128)),
                    augmentation,
                    dict(type='PlainDropLabels'),
                    dict(
                        type='MultiBranch',
                        branches=branches,
                        pipelines=dict(unlabelled=[dict(type='PackJointInputs')]),
                    ),
                ]
            ),
        )
    )
)
