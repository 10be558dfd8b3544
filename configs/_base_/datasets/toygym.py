# ToyGym as `python tools/data/make_toygym.py` writes it: 24 classes in 4 sets, 64 x 64 pixels, 20 frames a clip.
dataset_type = 'FineGymDataset'
data_root = 'data/toygym/'
video_root = data_root + 'videos'

# No flip: left and right turns are different classes. The classes are defined on a window of 16 frames.
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = val_pipeline

train_dataloader = dict(
    batch_size=24,
    num_workers=1,
    # Workers that outlive an epoch have random states that no checkpoint holds: a resumed run would differ.
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'toygym_train.txt',
        categories_file=data_root + 'toygym_categories.txt',
        sets_file=data_root + 'toygym_set_categories.txt',
        data_prefix=dict(video=video_root),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=24,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'toygym_val.txt',
        categories_file=data_root + 'toygym_categories.txt',
        sets_file=data_root + 'toygym_set_categories.txt',
        data_prefix=dict(video=video_root),
        pipeline=val_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassAccuracyMetric')
test_evaluator = val_evaluator
