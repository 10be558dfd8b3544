# Gym99 of FineGym, lists v1.1. Expected files:
#   data/finegym/annotations/  the official lists and categories, under their official names
#   data/finegym/clips/        one file an element, VIDEO_E_START_END_A_START_END.mp4
# or whole videos, VIDEO.mp4, of which elements are windows that need no cutting: --cfg-options clips=FOLDER_OF_VIDEOS
# tools/data/prepare_finegym.py says what is there and what to type (docs/finegym.md).
dataset_type = 'FineGymDataset'
data_root = 'data/finegym/'
clips = data_root + 'clips'
categories_file = data_root + 'annotations/gym99_categories.txt'
sets_file = data_root + 'annotations/set_categories.txt'
ann_file_train = data_root + 'annotations/gym99_train_element_v1.1.txt'
ann_file_val = data_root + 'annotations/gym99_val_element.txt'

# Elements last from half a second to several seconds, most between one and two: 8 frames spread over the whole element
# see all of it, where 8 frames at a fixed interval of 8 would run past the end of most. Mirroring keeps the class: no
# description says left or right. Crops stay large, since the athlete is a small part of the picture.
train_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=8),
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
    dict(type='UniformSample', clip_len=8, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
# 2 sets of frames x 3 crops
test_pipeline = [
    dict(type='ClipInit'),
    dict(type='UniformSample', clip_len=8, num_clips=2, test_mode=True),
    dict(type='ClipDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]

# A complete download is rare: clips that are not there are left out, and the log says how many.
missing = 'skip'
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_train,
        data_prefix=dict(video=clips),
        categories_file=categories_file,
        sets_file=sets_file,
        missing=missing,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=ann_file_val,
        data_prefix=dict(video=clips),
        categories_file=categories_file,
        sets_file=sets_file,
        missing=missing,
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
        categories_file=categories_file,
        sets_file=sets_file,
        missing=missing,
        pipeline=test_pipeline,
        test_mode=True))

# The mean class accuracy selects the best checkpoint, for classes are very uneven. It is over the classes that occur:
# not all do in a download with gaps.
val_evaluator = dict(type='ClassAccuracyMetric')
test_evaluator = val_evaluator
