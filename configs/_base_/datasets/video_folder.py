# Labelled videos of one's own. Expected in data_root: train.csv and val.csv, tables with the columns path and label (start
# and end in seconds where a clip is a window of its video), and label_map.txt, a class a line. Paths start at data_root.
# tools/data/prepare_videos.py makes all of it, and a config for it, from a folder of videos.
dataset_type = 'VideoTableDataset'
data_root = 'data/videos/'

# 8 frames spread over the whole clip, the whole picture.
train_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=8),
    dict(type='ClipDecode'),
    dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=8, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    # Workers that outlive an epoch have random states that no checkpoint holds: a resumed run would differ.
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'train.csv',
        classes_file=data_root + 'label_map.txt',
        data_prefix=dict(video=data_root),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'val.csv',
        classes_file=data_root + 'label_map.txt',
        data_prefix=dict(video=data_root),
        pipeline=val_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassAccuracyMetric')
test_evaluator = val_evaluator
