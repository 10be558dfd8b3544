# DSTS on Diving48 V2: SlowOnly ResNet-50 pretrained on Kinetics-400, 16 frames, 224 px.
_base_ = [
    '_base_/models/slowonly_r50.py', '_base_/datasets/diving48.py', '_base_/schedules/finetune.py',
    '_base_/default_runtime.py'
]

model = dict(
    neck=dict(type='DSTSNeck', in_channels=2048, hidden_channels=256, num_layers=3, num_neurons=10),
    cls_head=dict(num_classes=48))

# UDL; without these two, the plain update.
optim_wrapper = dict(type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'))
train_cfg = dict(type='UDLEpochBasedTrainLoop')

# OpenMMLab's weights of slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb. Train without them, and without a download, with:
# --cfg-options load_from=None
load_from = 'https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb_20220901-2132fc87.pth'
