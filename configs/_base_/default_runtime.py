# What every config shares. The import registers the classes of this package; no other set-up is needed.
custom_imports = dict(imports=['mmdsts'], allow_failed_imports=False)
default_scope = 'mmaction'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # acc/mean1 is the mean class accuracy (ClassAccuracyMetric).
    checkpoint=dict(type='DurableCheckpointHook', interval=1, max_keep_ckpts=3, save_best='acc/mean1', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    sync_buffers=dict(type='SyncBuffersHook'),
    # Warns where a layer of the neck has collapsed or does not decide.
    routing_watch=dict(type='RoutingWatchHook'),
    # SIGTERM and Ctrl-C save and end; what is not finite ends before it is saved.
    stop=dict(type='StopHook'),
    finite=dict(type='FiniteHook'))

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

# Logs what a layer reports as means over the window, too.
log_processor = dict(type='LayerLogProcessor', window_size=20, by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
