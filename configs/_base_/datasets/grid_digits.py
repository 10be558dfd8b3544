# A mouth saying one digit: 10 classes, 96 x 64 pixels, 20 frames around the word, cut from the GRID audio-visual sentence
# corpus (one speaker, 700 training and 300 test clips). The same face and room in every class: only the motion tells. The
# clips are not ours to give away; lists and videos are expected in data_root as train.txt, test.txt and videos/.
dataset_type = 'VideoDataset'
data_root = 'data/grid_digits/'
video_root = data_root + 'videos'

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=1, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(64, 48), keep_ratio=False),
    dict(type='RandomResizedCrop', area_range=(0.6, 1.0), aspect_ratio_range=(1.2, 1.5)),
    dict(type='Resize', scale=(56, 40), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=1, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(64, 48), keep_ratio=False),
    dict(type='CenterCrop', crop_size=(56, 40)),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
test_pipeline = val_pipeline

train_dataloader = dict(
    batch_size=20,
    num_workers=1,
    # Workers that outlive an epoch have random states that no checkpoint holds: a resumed run would differ.
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'train.txt',
        data_prefix=dict(video=video_root),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=20,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=data_root + 'test.txt',
        data_prefix=dict(video=video_root),
        pipeline=val_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassAccuracyMetric')
test_evaluator = val_evaluator
