# A ResNet-18 SlowOnly with a quarter of the usual channels, for 8 frames of 64 x 64 pixels on a CPU. Trained from
# scratch. Its feature has shape (B, 64, 8, 4, 4).
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNet3dSlowOnly',
        depth=18,
        pretrained=None,
        lateral=False,
        num_stages=3,
        base_channels=16,
        conv1_kernel=(1, 5, 5),
        conv1_stride_t=1,
        pool1_stride_t=1,
        spatial_strides=(1, 2, 2),
        temporal_strides=(1, 1, 1),
        dilations=(1, 1, 1),
        out_indices=(2, ),
        inflate=(0, 1, 1),
        norm_eval=False,
        zero_init_residual=False),
    cls_head=dict(
        type='I3DHead', in_channels=64, num_classes=24, spatial_type='avg', dropout_ratio=0.2, average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[110., 110., 110.], std=[60., 60., 60.], format_shape='NCTHW'))
