"""A training run of seconds: eight made-up videos and a config for them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import mmaction
import numpy as np
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
THEIRS = Path(mmaction.__file__).parent / '.mim' / 'tools'

CONFIG = """
custom_imports = dict(imports=['mmdsts'], allow_failed_imports=False)
default_scope = 'mmaction'
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3dSlowOnly', depth=18, pretrained=None, base_channels=4, with_cp=False,
                  norm_cfg=dict(type='BN3d'), conv1_kernel=(1, 3, 3), inflate=(0, 0, 0, 0)),
    neck=dict(type='DSTSNeck', in_channels=32, num_layers=1, num_neurons=2),
    cls_head=dict(type='I3DHead', in_channels=32, num_classes=2, spatial_type='avg', dropout_ratio=0.,
                  average_clips='prob'),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[128.], std=[64.], format_shape='NCTHW'))
pipeline = [dict(type='DecordInit'),
            dict(type='SampleFrames', clip_len=4, frame_interval=1, num_clips=1),
            dict(type='DecordDecode'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')]
dataset = dict(type='VideoDataset', ann_file='list.txt', data_root={root!r}, data_prefix=dict(video='videos'),
               pipeline=pipeline)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset,
                        sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(test_mode=True, **dataset),
                      sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy', 'mean_class_accuracy'))
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [dict(type='OneCycleLR', eta_max=0.01, total_steps=6, by_epoch=False)]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', interval=1, save_best='acc/mean1'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
auto_scale_lr = dict(base_batch_size=4)
"""


def write(folder: Path) -> Path:
    """Write videos, list and config into ``folder``.

    Returns:
        Path: the config file.
    """
    rng = np.random.default_rng(0)
    (folder / 'videos').mkdir(parents=True)
    for i in range(8):
        path = str(folder / 'videos' / f'{i}.mp4')
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'mp4v'), 10, (64, 64))
        for _ in range(8):
            writer.write(rng.integers(0, 128, (64, 64, 3), dtype=np.uint8) + np.uint8(127 * (i % 2)))
        writer.release()
    (folder / 'list.txt').write_text(''.join(f'{i}.mp4 {i % 2}\n' for i in range(8)))
    config = folder / 'tiny.py'
    config.write_text(CONFIG.replace('{root!r}', repr(str(folder))))
    return config


def forget_runs():
    """Runs started in the same second would share their logger, hub and visualizer."""
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()


def run(monkeypatch, tool, *args):
    """Run a tool in this process; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'last_type', None, raising=False)  # is set by an error, and restored
    forget_runs()
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as end:
        return end.code
    return 0
