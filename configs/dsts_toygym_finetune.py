# DSTS and UDL on ToyGym, from a backbone that slowonly_toygym.py has trained: what `make demo` compares. A
# few quiet epochs, since a comparison from scratch would measure when each network happens to leave its plateau.
_base_ = 'dsts_toygym.py'

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_begin=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=1e-3, total_steps=max_epochs, pct_start=0.25, by_epoch=True,
         convert_to_iter_based=True)
]
