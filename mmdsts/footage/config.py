"""The config of a prepared data set, as text that is meant to be read and changed."""

from __future__ import annotations

import re
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple, Sequence

from .backbone import PRETRAINED, Backbone, our_configs
from .measure import Measures

# A network from scratch needs some hundred steps before it leaves its plateau; a pretrained one needs a few epochs.
_STEPS_FROM_SCRATCH = 1000
_SIDES = re.compile(r'left|right|clockwise', re.IGNORECASE)


class Recipe(NamedTuple):
    """What a config says.

    Attributes:
        title: First words of its comment.
        folder: Folder of the lists.
        root: Folder of the videos.
        splits: Which lists there are, ``'train'``, ``'val'`` and maybe ``'test'``, to their numbers of clips.
        classes: Names of the classes.
        measures: Of the clips.
        backbone: The model file.
        model: What is written over its model.
        clip_len: Frames of a clip.
        size: Width and height of the frames.
        batch_size: Clips of a step.
        workers: Processes that load clips.
        epochs: Epochs; None for as many as the schedule takes.
        udl: Whether UDL trains.
    """

    title: str
    folder: Path
    root: Path
    splits: dict
    classes: Sequence[str]
    measures: Measures
    backbone: Backbone
    model: dict
    clip_len: int
    size: tuple
    batch_size: int
    workers: int
    epochs: int | None
    udl: bool


def write_config(recipe: Recipe) -> str:
    """Content of a config file."""
    base = our_configs() / '_base_'
    schedule = 'toygym.py' if recipe.backbone.is_small else 'finetune.py'
    bases = [recipe.backbone.base, str(base / 'datasets' / 'video_folder.py'), str(base / 'schedules' / schedule)]
    bases.append(str(base / 'default_runtime.py'))
    counts = ', '.join(f'{count} {split}' for split, count in recipe.splits.items())
    lines = [
        f'# {recipe.title}: {len(recipe.classes)} classes, clips: {counts}.',
        '# Written by tools/data/prepare_videos.py; change what you like. On another machine change the folders.',
        f'_base_ = {_literal(bases)}',
        f'data_root = {recipe.folder.as_posix() + "/"!r}  # train.csv, val.csv, label_map.txt',
        f'videos = {recipe.root.as_posix()!r}',
        '',
        *_pipelines(recipe),
        '',
        *_loaders(recipe),
        '',
        f'model = {_literal(recipe.model)}',
        '',
        *_schedule(recipe),
    ]
    return '\n'.join(lines) + '\n'


def _pipelines(recipe: Recipe) -> list[str]:
    width, height = recipe.size
    ratio = width / height
    if recipe.backbone.is_2d:
        sample = f"type='SampleFrames', clip_len=1, frame_interval=1, num_clips={recipe.clip_len}"
    else:
        sample = f"type='UniformSample', clip_len={recipe.clip_len}"
    crop = f'area_range=(0.5, 1.0), aspect_ratio_range=({0.75 * ratio:.2f}, {1.33 * ratio:.2f})'
    shape = recipe.backbone.format_shape
    sided = [name for name in recipe.classes if _SIDES.search(name)]
    flip = ["    dict(type='Flip', flip_ratio=0.5),"]
    if sided:
        flip = [f'    # no Flip: a mirrored {sided[0]!r} would be another class']
    measures = recipe.measures
    about = f'{measures.seconds:.1f} s, at {measures.rate:.3g} frames a second'
    tail = [f"    dict(type='FormatShape', input_format='{shape}'),", "    dict(type='PackActionInputs')", ']']
    resize = f"    dict(type='Resize', scale=({width}, {height}), keep_ratio=False),"
    return [
        f'# Half of the clips are longer than {about}, {measures.width} x {measures.height} pixels.',
        f'# {recipe.clip_len} frames are spread over the whole clip; test frames show the whole picture.',
        'train_pipeline = [',
        "    dict(type='ClipInit'),",
        f'    dict({sample}),',
        "    dict(type='ClipDecode'),",
        f"    dict(type='RandomResizedCrop', {crop}),",
        resize,
        *flip,
        *tail,
        'val_pipeline = [',
        "    dict(type='ClipInit'),",
        f'    dict({sample}, test_mode=True),',
        "    dict(type='ClipDecode'),",
        resize,
        *tail,
    ]


def _loaders(recipe: Recipe) -> list[str]:
    def dataset(split: str, pipeline: str) -> str:
        return (
            f"dict(ann_file=data_root + '{split}.csv', classes_file=data_root + 'label_map.txt',\n"
            f'                 data_prefix=dict(video=videos), pipeline={pipeline})'
        )

    def loader(name: str, split: str, pipeline: str) -> list[str]:
        return [
            f'{name} = dict(',
            f'    batch_size={recipe.batch_size}, num_workers={recipe.workers},',
            f'    dataset={dataset(split, pipeline)})',
        ]

    test = 'test' if 'test' in recipe.splits else 'val'
    lines = loader('train_dataloader', 'train', 'train_pipeline') + loader('val_dataloader', 'val', 'val_pipeline')
    if recipe.workers == 0:
        lines = [line.replace('num_workers=0,', 'num_workers=0, persistent_workers=False,') for line in lines]
    if test == 'val':
        return [*lines, 'test_dataloader = val_dataloader']
    return [*lines, *loader('test_dataloader', 'test', 'val_pipeline')]


def _schedule(recipe: Recipe) -> list[str]:
    train = recipe.splits['train']
    steps = max(train // recipe.batch_size, 1)
    lines = []
    if recipe.backbone.is_small:
        epochs = recipe.epochs or min(max(round(_STEPS_FROM_SCRATCH / steps), 12), 60)
        rate = 3e-3
        lines += [
            f'# From scratch: about {epochs * steps} steps.',
            f'max_epochs = {epochs}',
            'param_scheduler = [',
            f"    dict(type='OneCycleLR', eta_max={rate:g}, total_steps=max_epochs, pct_start=0.25, by_epoch=True,",
            '         convert_to_iter_based=True)',
            ']',
        ]
    else:
        epochs = recipe.epochs or 30
        warmup = min(max(epochs // 10, 1), epochs - 1)
        linear = [
            f"    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end={warmup},",
            '         convert_to_iter_based=True),',
        ]
        rate = 3e-4 * recipe.batch_size / 32
        lines += [
            f'max_epochs = {epochs}',
            'param_scheduler = [',
            *(linear if warmup else []),
            f"    dict(type='CosineAnnealingLR', T_max=max_epochs - {warmup}, eta_min=0, by_epoch=True,",
            f'         begin={warmup}, end=max_epochs, convert_to_iter_based=True)',
            ']',
        ]
    every = max(epochs // 10, 1)
    loop = "type='UDLEpochBasedTrainLoop', " if recipe.udl else ''
    wrapper = "type='UDLOptimWrapper', udl=dict(scope='neck', method='exact'), " if recipe.udl else ''
    lines += [
        f'train_cfg = dict({loop}max_epochs=max_epochs, val_begin={every}, val_interval={every})',
        f'optim_wrapper = dict({wrapper}optimizer=dict(lr={rate:g}))',
        f'auto_scale_lr = dict(base_batch_size={recipe.batch_size})',
    ]
    if recipe.backbone.name in PRETRAINED:
        lines += [
            '',
            "# OpenMMLab's weights; without them and without a download: --cfg-options load_from=None",
            f'load_from = {PRETRAINED[recipe.backbone.name]!r}',
        ]
    return lines


def _literal(value: Any) -> str:
    """Nested dicts as ``dict(...)``, lists one entry a line."""
    if isinstance(value, dict):
        return f'dict({", ".join(f"{key}={_literal(entry)}" for key, entry in value.items())})'
    if isinstance(value, list):
        return '[\n' + ''.join(f'    {_literal(entry)},\n' for entry in value) + ']'
    return pformat(value, width=1000)
