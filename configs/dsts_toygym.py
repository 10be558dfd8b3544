# DSTS on ToyGym, trained with UDL: a CPU and minutes. The two dicts below are all that UDL changes in a config.
_base_ = 'dsts_toygym_noudl.py'

optim_wrapper = dict(type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'))
train_cfg = dict(type='UDLEpochBasedTrainLoop')
