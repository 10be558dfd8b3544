# DSTS on Gym99 with a 2D backbone: TSM ResNet-50 pretrained on Kinetics-400, 8 segments, 224 px.
_base_ = [
    '_base_/models/tsm_r50.py', '_base_/datasets/finegym99.py', '_base_/schedules/finetune.py',
    '_base_/default_runtime.py'
]

model = dict(
    neck=dict(type='DSTSNeck', in_channels=2048, hidden_channels=256, num_layers=3, num_neurons=10),
    cls_head=dict(num_classes=99))

train_pipeline = [
    dict(type='ClipInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop', area_range=(0.4, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='ClipInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs')
]
# 2 sets of frames (twice_sample) x 3 crops
test_pipeline = [
    dict(type='ClipInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8, twice_sample=True, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

# UDL; without these two, the plain update.
optim_wrapper = dict(type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'))
train_cfg = dict(type='UDLEpochBasedTrainLoop')

# OpenMMLab's weights of tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb. Train without them, and without a
# download, with: --cfg-options load_from=None
load_from = 'https://download.openmmlab.com/mmaction/v1.0/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb_20220831-64d69186.pth'
