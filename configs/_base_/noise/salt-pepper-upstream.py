# "Salt and pepper" as UML's published evaluation made it: its pepper hits the pixels of its salt,
# so half of `amount` of the pixels become black and none white.
# For any data set of 256x256 images; a robustness config takes it as a second base:
#   _base_ = ['../uml_res2net_refuge.py', '../../_base_/noise/salt-pepper-upstream.py']
#   test_dataloader = dict(dataset=dict(pipeline=_base_.noisy_test_pipeline))
# Another level: --cfg-options test_dataloader.dataset.pipeline.1.amount=0.2
# With a seed, each image gets the same noise in every run; seed=None draws anew.
noisy_test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='SaltAndPepper', amount=0.1, variant='pepper_upstream', seed=0),
    dict(type='mmcv.Resize', scale=(256, 256)),
    dict(type='LoadJointAnnotations'),
    dict(type='PackJointInputs'),
]
