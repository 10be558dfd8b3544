# Fine-tuning of a pretrained backbone: AdamW, linear warm-up, cosine. Our choice, not tuned on FineGym or Diving48.
# Adaptive on purpose: so are the measurements behind the neck's defaults (docs/evidence.md). Under plain SGD the notes'
# form of UDL (udl.direct_term=False) moves upstream by the square of the learning rate, which is hardly at all.
max_epochs = 30
warmup_epochs = 3
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_begin=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=40, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=warmup_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=max_epochs - warmup_epochs, eta_min=0, by_epoch=True,
         begin=warmup_epochs, end=max_epochs, convert_to_iter_based=True)
]

# The learning rate is meant for 32 videos a step; --auto-scale-lr adapts it to the number of GPUs and videos.
auto_scale_lr = dict(enable=False, base_batch_size=32)
