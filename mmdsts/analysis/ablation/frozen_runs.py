"""Runs of an experiment on frozen features."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmdsts.engine.update_config import plain, type_name
from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line

from .experiment import Job, code_digest
from .extraction import fingerprint, load_features
from .features import FeatureSet
from .frozen import FrozenRecognizer, train_on_features
from .store import Clips, Run, judge
from .variants import Variant


class FrozenTask(NamedTuple):
    """What a run on frozen features needs beside its seed: see :func:`train_on_features`."""

    train: str
    test: str
    neck: dict | None
    cls_head: dict
    optim_wrapper: dict
    epochs: int
    batch_size: int
    device: str


def frozen_head(cfg: Config, test: Path) -> tuple[dict, bool]:
    """The head for features of a file, and whether it is the config's own.

    A head that takes frames, or features of several stages, is replaced by a linear layer on the mean of the feature.
    """
    head, feature = plain(cfg.model.cls_head), load_features(test).features[:2]
    if _takes(head, feature):
        return head, True
    mean = dict(type='I3DHead', in_channels=feature.shape[1], num_classes=head['num_classes'], dropout_ratio=0.0)
    return mean, False


def _takes(head: dict, feature: Tensor) -> bool:
    """Whether a head gives one row of scores for each feature; its name does not tell."""
    with DefaultScope.overwrite_default_scope('mmaction'), torch.no_grad():
        try:
            scores = MODELS.build(dict(head)).eval()(feature)
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
    return isinstance(scores, Tensor) and scores.shape == (len(feature), head['num_classes'])


def frozen_job(variant: Variant, seed: int, train: Path, test: Path, **settings) -> Job:
    """The run of a variant; ``settings`` are the other fields of :class:`FrozenTask`."""
    task = FrozenTask(str(train), str(test), variant.neck, **settings)
    # The names of the folders are fingerprints of the features.
    content = dict(task._asdict(), train=train.parent.name, test=test.parent.name)
    return Job(variant.name, seed, fingerprint('frozen', content, seed, code_digest()), task)


def check_frozen(jobs: Sequence[Job]) -> None:
    """Check what would end each of these runs alike, before the first: all read the same features.

    Raises:
        UsageError: There are too few training samples for a step, a class that the head does not have, or a neck or
            head that does not take the features.
    """
    tasks: dict[str, FrozenTask] = {job.variant: job.task for job in jobs}
    if not tasks:
        return
    train, test = (load_features(path) for path in next(iter(tasks.values()))[:2])
    largest = int(max(train.labels.max(), test.labels.max()))
    for name, task in tasks.items():
        batches = 2 if type_name(task.optim_wrapper['type']) == 'UDLOptimWrapper' else 1
        if len(train.labels) < batches * task.batch_size:
            raise UsageError(
                f'variant {name}: {len(train.labels)} training samples, expected at least {batches * task.batch_size}, '
                f'{batches} x --batch-size {task.batch_size}; lower it, or give more samples'
            )
        classes = task.cls_head['num_classes']
        if largest >= classes:
            raise UsageError(f'the data has a class {largest}, expected fewer than num_classes={classes} of the head')
        try:
            with DefaultScope.overwrite_default_scope('mmaction'), torch.no_grad():
                FrozenRecognizer(task.cls_head, task.neck).eval()(train.features[:1])
        except (*CONFIG_MISTAKES, RuntimeError) as error:
            raise UsageError(f'variant {name}: {one_line(error)}') from error


def run_frozen(job: Job) -> tuple[Run, Clips]:
    """Train and test one variant on features."""
    task: FrozenTask = job.task
    train, test = _features(task.train), _features(task.test)
    found = train_on_features(
        train,
        test,
        neck=task.neck,
        cls_head=task.cls_head,
        optim_wrapper=task.optim_wrapper,
        epochs=task.epochs,
        batch_size=task.batch_size,
        seed=job.seed,
        device=task.device,
    )
    sets = None if test.groups is None else class_groups(found.scores.shape[1], train, test)
    clips = judge(found.scores.numpy(), test.labels.numpy(), sets)
    agreements = [value for name, value in found.log.items() if name.startswith('agreement/')]
    run = Run(
        job.variant,
        job.seed,
        *clips.accuracies(),
        found.parameters,
        round(found.seconds, 1),
        found.log['loss'],
        float(np.mean(agreements)) if agreements else None,
        job.key,
    )
    return run, clips


def class_groups(num_classes: int, *sets: FeatureSet) -> np.ndarray:
    """Group of each class, as its samples say; -1 for a class without samples."""
    groups = torch.full((num_classes,), -1)
    for features in sets:
        groups[features.labels] = features.groups
    return groups.numpy()


@lru_cache(maxsize=2)
def _features(path: str) -> FeatureSet:
    return load_features(path)
