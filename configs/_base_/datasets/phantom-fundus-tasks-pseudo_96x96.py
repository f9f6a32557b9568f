# As phantom-fundus-tasks_96x96.py, and the same images once more with pseudo labels of what their
# set does not label, strongly augmented. The pseudo labels lie in
# data/phantoms/<set>/pseudo/<task>/; another folder is set by
# train_dataloader.dataset.datasets.<set>_pseudo.extra_maps. Blurring is a quarter of that at
# 512x512, as are the images.
_base_ = ['./phantom-fundus-tasks_96x96.py']

weak_aug = [*_base_.crop, _base_.vertical_flip, _base_.rotation, _base_.pack]
strong_aug = [
    *_base_.crop,
    _base_.horizontal_flip,
    dict(type='mmpretrain.NumpyToPIL'),
    dict(
        type='mmcv.RandomApply',
        prob=0.8,
        transforms=[
            dict(
                type='mmpretrain.torchvision/ColorJitter',
                brightness=0.5,
                contrast=0.5,
                saturation=0.5,
                hue=0.25,
            ),
        ],
    ),
    dict(type='mmpretrain.torchvision/RandomGrayscale', p=0.2),
    dict(type='mmpretrain.PILToNumpy'),
    dict(
        type='mmpretrain.GaussianBlur',
        prob=0.5,
        magnitude_range=(0.1, 0.5),
        magnitude_std='inf',  # uniform
    ),
    dict(type='RandomNoiseCutOut', prob=0.5, area=(0.02, 0.4), ratio=(0.3, 1 / 0.3)),
    _base_.pack,
]

branches = ('reta', 'ddr', 'refuge', 'reta_pseudo', 'ddr_pseudo', 'refuge_pseudo')
reta_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(reta=weak_aug)),
]
ddr_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(ddr=weak_aug)),
]
refuge_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(refuge=weak_aug)),
]
reta_pseudo_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(reta_pseudo=strong_aug)),
]
ddr_pseudo_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(ddr_pseudo=strong_aug)),
]
refuge_pseudo_pipeline = [
    *_base_.load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(refuge_pseudo=strong_aug)),
]

# Six images, each drawn independently of the others.
train_dataloader = dict(
    _delete_=True,
    batch_size=6,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='MultiSourceSampler', counts=(1, 1, 1, 1, 1, 1), endless=True),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            reta=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/reta/',
                split='train',
                cache=True,
                annotated_tasks=('vessel',),
                pipeline=reta_pipeline,
            ),
            ddr=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/ddr/',
                split='train',
                cache=True,
                annotated_tasks=('lesion',),
                pipeline=ddr_pipeline,
            ),
            refuge=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/refuge_tasks/',
                split='train',
                cache=True,
                annotated_tasks=('odoc',),
                pipeline=refuge_pipeline,
            ),
            reta_pseudo=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/reta/',
                split='train',
                cache=True,
                labelled=False,
                extra_maps=dict(lesion='pseudo/lesion', odoc='pseudo/odoc'),
                pipeline=reta_pseudo_pipeline,
            ),
            ddr_pseudo=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/ddr/',
                split='train',
                cache=True,
                labelled=False,
                extra_maps=dict(vessel='pseudo/vessel', odoc='pseudo/odoc'),
                pipeline=ddr_pseudo_pipeline,
            ),
            refuge_pseudo=dict(
                type=_base_.dataset_type,
                data_root='data/phantoms/refuge_tasks/',
                split='train',
                cache=True,
                labelled=False,
                extra_maps=dict(vessel='pseudo/vessel'),
                pipeline=refuge_pseudo_pipeline,
            ),
        ),
    ),
)
