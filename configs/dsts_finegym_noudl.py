# DSTS on Gym99, trained by the plain update: SlowOnly ResNet-50 pretrained on Kinetics-400, 8 frames, 224 px. What
# dsts_finegym.py adds is UDL.
_base_ = [
    '_base_/models/slowonly_r50.py', '_base_/datasets/finegym99.py', '_base_/schedules/finetune.py',
    '_base_/default_runtime.py'
]

# 2048 channels times 10 neurons times 3 layers would be 1.6 billion weights, hence hidden_channels.
model = dict(
    neck=dict(type='DSTSNeck', in_channels=2048, hidden_channels=256, num_layers=3, num_neurons=10),
    cls_head=dict(num_classes=99))

# OpenMMLab's weights of slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb; the head of 400 classes does not fit and is
# left out. Train without them, and without a download, with: --cfg-options load_from=None
load_from = 'https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb_20220901-2132fc87.pth'
