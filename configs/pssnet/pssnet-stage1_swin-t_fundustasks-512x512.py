# Stage 1 of PSSNet, the generator of pseudo labels: each set trains the task that it labels.
_base_ = [
    '../_base_/models/pssnet_swin-t.py',
    '../_base_/datasets/fundus-tasks_512x512.py',
    '../_base_/schedules/pssnet-generator_40k.py',
    '../_base_/default_runtime.py',
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4000))
log_processor = dict(by_epoch=False)
