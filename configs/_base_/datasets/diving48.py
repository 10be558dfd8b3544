# Diving48 V2. Expected files:
#   data/diving48/annotations/  Diving48_V2_train.json, Diving48_V2_test.json, Diving48_vocab.json
#   data/diving48/clips/        the published videos, VID_NAME.mp4
dataset_type = 'Diving48Dataset'
data_root = 'data/diving48/'
clips = data_root + 'clips'
vocabulary_file = data_root + 'annotations/Diving48_vocab.json'
ann_file_train = data_root + 'annotations/Diving48_V2_train.json'
ann_file_val = data_root + 'annotations/Diving48_V2_test.json'

# A class is take-off, somersaults, twists and position, so the whole dive counts: 16 frames spread over it. Mirroring
# keeps the class.
train_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=16),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop', area_range=(0.4, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=16, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
# 2 sets of frames x 3 crops
test_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=16, num_clips=2, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_train,
        data_prefix=dict(video=clips),
        vocabulary_file=vocabulary_file,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(video=clips),
        vocabulary_file=vocabulary_file,
        pipeline=val_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(video=clips),
        vocabulary_file=vocabulary_file,
        pipeline=test_pipeline,
        test_mode=True))

# V2 uses 47 of the 48 labels; the mean class accuracy is over those that occur.
val_evaluator = dict(type='ClassAccuracyMetric')
test_evaluator = val_evaluator
