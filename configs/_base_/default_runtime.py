default_scope = 'mmjoint'

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Without CUDA devices gloo is used in place of nccl.
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=None, deterministic=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='JointCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    iter_seed=dict(type='IterSeedHook'),
    train_progress=dict(type='TrainProgressHook'),
    broadcast_buffers=dict(type='BroadcastBuffersHook'),
    environment=dict(type='EnvironmentHook'),
    prediction_images=dict(type='PredictionImageHook', num_samples=4),
)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
# Without a name of its own it is one per run, also where a process makes several runs.
visualizer = dict(type='JointVisualizer', vis_backends=vis_backends)
log_processor = dict(window_size=10, by_epoch=True)
log_level = 'INFO'

load_from = None
resume = False
