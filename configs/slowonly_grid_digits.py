# The small backbone alone on spoken digits, from scratch: what all variants of dsts_grid_digits.py start from. When it
# leaves its plateau is a matter of the seed, so a comparison from scratch would compare seeds.
_base_ = [
    '_base_/models/slowonly_tiny.py', '_base_/datasets/grid_digits.py', '_base_/schedules/toygym.py',
    '_base_/default_runtime.py'
]

max_epochs = 24
model = dict(cls_head=dict(num_classes=10))
train_cfg = dict(max_epochs=max_epochs, val_begin=8, val_interval=8)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=3e-3, total_steps=max_epochs, pct_start=0.25, by_epoch=True,
         convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=20)
