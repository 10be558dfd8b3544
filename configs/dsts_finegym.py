# DSTS on Gym99, trained with UDL: SlowOnly ResNet-50 pretrained on Kinetics-400, 8 frames, 224 px. The two dicts below
# are all that UDL changes. Train without the pretrained weights, and without a download, with:
# --cfg-options load_from=None
_base_ = 'dsts_finegym_noudl.py'

optim_wrapper = dict(type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'))
train_cfg = dict(type='UDLEpochBasedTrainLoop')
