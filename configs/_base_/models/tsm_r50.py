# TSM, ResNet-50, 8 segments: feature (B * 8, 2048, H/32, W/32); DSTSRecognizer2D makes clips of it for the neck.
# Pretrained weights come through load_from, so the backbone loads none (pretrained2d needs MMAction2 1.1 or later).
model = dict(
    type='DSTSRecognizer2D',
    backbone=dict(
        type='ResNetTSM',
        depth=50,
        num_segments=8,
        pretrained=None,
        pretrained2d=False,
        norm_eval=False,
        shift_div=8),
    cls_head=dict(
        type='TSMHead',
        num_segments=8,
        in_channels=2048,
        num_classes=400,
        spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1),
        dropout_ratio=0.5,
        init_std=0.001,
        is_shift=True,
        average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCHW'))
