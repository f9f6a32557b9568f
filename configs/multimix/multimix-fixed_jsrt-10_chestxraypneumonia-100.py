# MultiMix with what its code leaves out or does by mistake mended: one range of grey values, a
# consistency of masks that is not always 0, and a learning rate that lasts for all epochs.
_base_ = [
    '../_base_/models/multimix.py',
    '../_base_/datasets/chest-xrays-one-range_256x256.py',
    '../_base_/schedules/multimix_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(kl='bernoulli')
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=100, by_epoch=True)]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='selection_score', rule='greater'))
