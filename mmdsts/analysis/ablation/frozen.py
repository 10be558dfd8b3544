"""Neck and head trained on features that were computed once: an experiment in seconds instead of hours."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any, Callable, Iterator, NamedTuple

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModel, merge_dict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from mmdsts.engine import UDLOptimWrapper
from mmdsts.engine.heldout import with_next
from mmdsts.engine.random_state import preserve_random_state
from mmdsts.engine.update_config import type_name
from mmdsts.models.building import quietly

from .features import FeatureSet

OPTIMIZER = dict(type='AdamW', lr=4e-3, weight_decay=0.01)

# Samples of one forward pass in testing.
_TEST_BATCH = 128


class _Sample(NamedTuple):
    """The one thing that the loss of an MMAction2 head reads of a data sample: its label."""

    item: Tensor

    @property
    def gt_label(self) -> Tensor:
        return self.item

    @property
    def gt_labels(self) -> _Sample:
        """Where MMAction2 1.0 and 1.1 look: ``gt_labels.item``."""
        return self


class FrozenRecognizer(BaseModel):
    """Neck and head of a recognizer; its inputs are the backbone's features.

    Args:
        cls_head: Config or module of a head of MMAction2 that takes ``(B, C, T, H, W)``.
        neck: Config or module of a neck that keeps MMAction2's contract; ``None`` for the head alone. Defaults to
            None.
    """

    def __init__(self, cls_head: dict | nn.Module, neck: dict | nn.Module | None = None) -> None:
        super().__init__()
        self.cls_head = _build(cls_head)
        self.neck = _build(neck) if neck is not None else None

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        """Run the model.

        Args:
            inputs: Features, shape ``(B, C, T, H, W)``.
            labels: Classes, long, shape ``(B,)``; the mode ``'loss'`` needs them. Defaults to None.
            mode: ``'loss'``: what MMEngine's ``parse_losses`` takes; ``'tensor'``: class scores, shape ``(B,
                num_classes)``; ``'predict'``: the best class of each sample, shape ``(B,)``. Defaults to
                ``'tensor'``.

        Raises:
            ValueError: If ``mode`` is none of the three.
        """
        if mode not in ('loss', 'tensor', 'predict'):
            raise ValueError(f"mode must be 'loss', 'tensor' or 'predict', got {mode!r}")
        features, loss_aux = (inputs, {}) if self.neck is None else self.neck(inputs)
        if mode == 'loss':
            return merge_dict(self.cls_head.loss(features, [_Sample(label) for label in labels]), loss_aux)
        scores = self.cls_head(features)
        return scores if mode == 'tensor' else scores.argmax(dim=1)


class FeatureRun(NamedTuple):
    """One training on features, and its test.

    Attributes:
        correct: Whether each test sample was classified correctly, bool, shape ``(n_test,)``.
        predictions: The class given to each test sample, long, shape ``(n_test,)``.
        scores: Class scores of each test sample, shape ``(n_test, num_classes)``.
        log: Mean over the last epoch of everything that a training step logs, the neck's figures included.
        seconds: Time of the training, without the test: of the processor on a CPU, which other work on the machine
            does not lengthen, of the clock elsewhere.
        parameters: Number of trained values in neck and head.
        model: The trained model, in evaluation mode.
    """

    correct: Tensor
    predictions: Tensor
    scores: Tensor
    log: dict[str, float]
    seconds: float
    parameters: int
    model: FrozenRecognizer


def train_on_features(
    train: FeatureSet,
    test: FeatureSet,
    *,
    neck: dict | None,
    num_classes: int | None = None,
    cls_head: dict | None = None,
    optim_wrapper: dict | None = None,
    epochs: int = 30,
    batch_size: int = 32,
    seed: int = 0,
    device: str = 'cpu',
    on_epoch: Callable[[int, FrozenRecognizer, dict[str, float]], None] | None = None,
) -> FeatureRun:
    """Train a neck and a head on features, and test them.

    Runs of one ``seed`` are paired: whatever the neck is, they see the same samples in the same order, and their
    heads start from the same values. The learning rate falls to zero along half a cosine, step by step. The
    caller's random generators are left as they were.

    Args:
        train: Training samples.
        test: Test samples.
        neck: Config of the neck, or ``None``: the head alone.
        num_classes: Number of classes. Defaults to None: one more than the largest label.
        cls_head: Config of an MMAction2 head. Defaults to None: ``I3DHead`` without dropout, a linear layer on
            the mean over time and space.
        optim_wrapper: Config of an optimizer wrapper. ``UDLOptimWrapper`` trains by UDL, built by its own
            constructor, with the next batch of the epoch held out; here ``udl.scope`` is ``'full'``, since all
            that is trained is neck and head. Entries left out: ``type`` is ``'OptimWrapper'``, ``optimizer``
            AdamW with a rate of 0.004 and a weight decay of 0.01. Defaults to None.
        epochs: Passes over ``train``. Defaults to 30.
        batch_size: Samples of a step; what an epoch has left over is dropped. Defaults to 32.
        seed: Seed of all that is random. Defaults to 0.
        device: Where to train. Defaults to ``'cpu'``.
        on_epoch: Called after each epoch with its number, from 0, the model and the epoch's means of what the
            steps logged. Defaults to None.

    Raises:
        ValueError: There are fewer training samples than one batch, or with UDL than two, or a number is out of
            range.
        FloatingPointError: The training loss is not finite.
    """
    for name, value in dict(epochs=epochs, batch_size=batch_size).items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    steps = len(train.labels) // batch_size
    if steps < 1:
        raise ValueError(f'{len(train.labels)} training samples do not fill one batch of {batch_size}')
    if num_classes is None:
        num_classes = int(max(train.labels.max(), test.labels.max())) + 1
    head = cls_head or dict(
        type='I3DHead', in_channels=train.features.shape[1], num_classes=num_classes, dropout_ratio=0.0
    )
    with preserve_random_state(), DefaultScope.overwrite_default_scope('mmaction'):
        model = _seeded_model(head, neck, seed).to(device)
        wrapper = _build_wrapper(model, optim_wrapper)
        wrapper.initialize_count_status(model, 0, epochs * steps)
        schedule = CosineAnnealingLR(wrapper.optimizer, T_max=epochs * steps)
        order = torch.Generator().manual_seed(seed)
        _seed_noise(seed)
        clock = time.process_time if torch.device(device).type == 'cpu' else time.perf_counter
        start, log = clock(), {}
        for epoch in range(epochs):
            model.train()
            batches = _batches(train, batch_size, torch.randperm(len(train.labels), generator=order), device)
            log = _train_epoch(model, wrapper, schedule, batches)
            if not math.isfinite(log['loss']):
                raise FloatingPointError(
                    f'the training loss of epoch {epoch + 1} is {log["loss"]}: lower the '
                    'learning rate of optim_wrapper.optimizer, or clip gradients'
                )
            if on_epoch is not None:
                on_epoch(epoch, model, log)
        seconds = clock() - start
        scores = class_scores(model, test.features)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    predictions = scores.argmax(dim=1)
    return FeatureRun(predictions == test.labels, predictions, scores, log, seconds, parameters, model)


@torch.no_grad()
def class_scores(model: FrozenRecognizer, features: Tensor) -> Tensor:
    """Class scores of samples, shape ``(n, num_classes)``; leaves the model in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).cpu() for part in features.split(_TEST_BATCH)])


def _build(module: dict | nn.Module) -> nn.Module:
    return module if isinstance(module, nn.Module) else MODELS.build(dict(module))


def _seeded_model(cls_head: dict, neck: dict | None, seed: int) -> FrozenRecognizer:
    """Each part is drawn from the seed anew: the values of one do not depend on what the other is."""
    parts = []
    for config in (cls_head, neck):
        torch.manual_seed(seed)
        part = None if config is None else _build(config)
        if hasattr(part, 'init_weights'):
            with quietly():
                part.init_weights()
        parts.append(part)
    return FrozenRecognizer(*parts)


def _seed_noise(seed: int) -> None:
    # Not the numbers that the weights were drawn from.
    torch.manual_seed(seed + 1_000_003)


def _build_wrapper(model: FrozenRecognizer, config: dict | None) -> OptimWrapper:
    config = {'type': 'OptimWrapper', 'optimizer': OPTIMIZER, **(config or {})}
    if type_name(config['type']) == 'UDLOptimWrapper':
        config['udl'] = dict(config.get('udl') or {}, scope='full', backbone=None)
        if type_name(config.get('constructor')) != 'UDLOptimWrapperConstructor':
            config['base_constructor'] = config.get('constructor', 'DefaultOptimWrapperConstructor')
            config['constructor'] = 'UDLOptimWrapperConstructor'
    return build_optim_wrapper(model, config)


def _batches(train: FeatureSet, batch_size: int, order: Tensor, device: str) -> Iterator[dict[str, Tensor]]:
    for rows in order.split(batch_size):
        if len(rows) == batch_size:
            yield dict(inputs=train.features[rows].to(device), labels=train.labels[rows].to(device))


def _train_epoch(
    model: FrozenRecognizer, wrapper: OptimWrapper, schedule: CosineAnnealingLR, batches: Iterator[dict[str, Tensor]]
) -> dict[str, float]:
    """Train one epoch; the means of what its steps logged."""
    values = defaultdict(list)
    udl = isinstance(wrapper, UDLOptimWrapper)
    for step in with_next(batches) if udl else batches:
        log = wrapper.train_step(model, *step) if udl else model.train_step(step, wrapper)
        schedule.step()
        for name, value in log.items():
            values[name].append(value.item() if isinstance(value, Tensor) else float(value))
    return {name: sum(figures) / len(figures) for name, figures in values.items()}
