# DSTS on spoken digits, trained with UDL from the backbone that slowonly_grid_digits.py trained: give its checkpoint to
# tools/ablate.py --checkpoint, or to tools/train.py --cfg-options load_from=.
_base_ = 'slowonly_grid_digits.py'

max_epochs = 12
model = dict(neck=dict(type='DSTSNeck', in_channels=64, num_layers=2, num_neurons=6))
train_cfg = dict(type='UDLEpochBasedTrainLoop', max_epochs=max_epochs, val_begin=4, val_interval=4)
optim_wrapper = dict(type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'), optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=1e-3, total_steps=max_epochs, pct_start=0.25, by_epoch=True,
         convert_to_iter_based=True)
]
