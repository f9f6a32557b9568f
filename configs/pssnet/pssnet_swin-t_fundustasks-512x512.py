# Stage 2 of PSSNet: attention between the tasks, critics, and the pseudo labels of stage 1.
_base_ = [
    '../_base_/models/pssnet-adversarial_swin-t.py',
    '../_base_/datasets/fundus-tasks-pseudo_512x512.py',
    '../_base_/schedules/pssnet_60k.py',
    '../_base_/default_runtime.py',
]
randomness = dict(seed=2021)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=6000))
log_processor = dict(by_epoch=False)
