# MultiMix as published: 10 images with lung masks, 100 with a class, the others without labels.
_base_ = [
    '../_base_/models/multimix.py',
    '../_base_/datasets/chest-xrays_256x256.py',
    '../_base_/schedules/multimix_100e.py',
    '../_base_/default_runtime.py',
]
# The published rule for the best checkpoint keeps the first epoch, whatever it is worth; here it
# is the mean of Dice and accuracy on the validation images.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='selection_score', rule='greater'))
