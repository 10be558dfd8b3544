"""Small whole runs with MMEngine's runner."""

from __future__ import annotations

import copy
import json
import uuid

import numpy as np
import torch
from mmaction.registry import DATASETS
from mmaction.structures import ActionDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdsts.evaluation.samples import labelled

from .toy_recognizer import CLASSES, recognizer_config, state_of

VALIDATION = dict(val_cfg=dict(), val_evaluator=dict(type='AccMetric'))


@DATASETS.register_module(force=True)
class ToyClips(Dataset):
    """Random clips; ``augment`` draws from torch's and numpy's global generators, as real pipelines do."""

    def __init__(self, size: int = 12, augment: bool = True) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(size, 1, 3, 2, 8, 8, generator=generator)
        self.labels = torch.randint(CLASSES, (size,), generator=generator)
        self.augment = augment
        self.metainfo = {}

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        inputs = self.inputs[index].clone()
        if self.augment:
            inputs += 0.1 * (torch.randn(1) + np.random.randn())
        sample = labelled(int(self.labels[index]), ActionDataSample(metainfo=dict(index=int(index))))
        return dict(inputs=inputs, data_samples=sample)


def loader(size=12, batch_size=4, num_workers=0, augment=True, sampler='DefaultSampler', **kwargs) -> dict:
    return dict(
        batch_size=batch_size,
        num_workers=num_workers,
        sampler=dict(type=sampler, shuffle=True),
        dataset=dict(type='ToyClips', size=size, augment=augment),
        **kwargs,
    )


def run_config(work_dir, epochs=2, iters=None, **changes) -> dict:
    """Arguments of a runner that trains the toy recognizer with UDL, by iterations if ``iters`` is given."""
    train_cfg = (
        dict(type='UDLEpochBasedTrainLoop', max_epochs=epochs)
        if iters is None
        else dict(type='UDLIterBasedTrainLoop', max_iters=iters)
    )
    config = dict(
        model=recognizer_config(),
        work_dir=str(work_dir),
        train_dataloader=loader(),
        train_cfg=train_cfg,
        optim_wrapper=dict(
            type='UDLOptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01)
        ),
        default_scope='mmaction',
        randomness=dict(seed=3),
        log_level='WARNING',
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=iters is None),
        ),
        # MMEngine keeps one message hub and visualizer for each name in a process.
        experiment_name=f'toy-{uuid.uuid4().hex}',
        visualizer=dict(type='Visualizer', name=uuid.uuid4().hex, vis_backends=[dict(type='LocalVisBackend')]),
    )
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] = {**config[key], **value}
        else:
            config[key] = value
    return config


def build_runner(*args, **kwargs) -> Runner:
    # A runner changes the dicts that it is given.
    return Runner(**copy.deepcopy(run_config(*args, **kwargs)))


def read_log(work_dir) -> list[dict]:
    """Lines of the scalar log of the only run in ``work_dir``, training only."""
    path = next(work_dir.glob('*/vis_data/scalars.json'))
    return [line for line in map(json.loads, path.read_text().splitlines()) if 'loss' in line]


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """Interrupt a run as a time limit would."""

    priority = 'LOWEST'

    def __init__(self, iters):
        self.iters = iters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iters and not runner.train_loop_by_epoch:
            raise KeyboardInterrupt

    def after_train_epoch(self, runner):
        if runner.iter == self.iters:
            raise KeyboardInterrupt


def full_state(runner):
    state = state_of(runner.model)
    for i, entry in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        state.update({f'optimizer {i} {k}': v for k, v in entry.items() if isinstance(v, torch.Tensor)})
    for hook in runner.hooks:
        if hasattr(hook, 'ema_model'):
            state.update({f'ema {k}': v.clone() for k, v in hook.ema_model.state_dict().items()})
    return state
