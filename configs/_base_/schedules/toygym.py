# AdamW with a one-cycle learning rate, changed every iteration. With OMP_NUM_THREADS=1 the steps of this small network stay
# quick on a machine that does other work as well; two threads that wait for each other are much slower there.
max_epochs = 12
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_begin=4, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10, norm_type=2))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=4e-3, total_steps=max_epochs, pct_start=0.25, by_epoch=True,
         convert_to_iter_based=True)
]

# only for --auto-scale-lr
auto_scale_lr = dict(enable=False, base_batch_size=24)
