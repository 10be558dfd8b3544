"""Whole recognizers with and without DSTS, in training and at test time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

import mmdsts

from ..goals import Goal
from ..measure import Case, Settings, measure, ratio
from ..recognizers import batch, build, slowonly, tsm, with_dsts, x3d
from ..result import SuiteResult

ALONE, DSTS, DEPLOYED = 'backbone and head alone', 'with DSTS', 'with DSTS, deployed'


@dataclass
class End2endSizes:
    """Sizes of the clips, of the neck, and the backbones."""

    frames: int = 8
    test_size: int = 224
    train_size: int = 112
    train_clips: int = 2
    hidden_channels: int = 256
    backbones: tuple = ('SlowOnly-R50', 'TSM-R50', 'X3D-M')


def run(settings: Settings, sizes: End2endSizes | None = None) -> SuiteResult:
    """Test time of one clip, and forward and backward pass of a training batch.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, those of the goals.
    """
    sizes = sizes or End2endSizes()
    configs = {
        'SlowOnly-R50': lambda: slowonly(50),
        'TSM-R50': lambda: tsm(50),
        'X3D-M': x3d,
        'SlowOnly-R18': lambda: slowonly(18, 16),
    }
    rows, goals = [], []
    for name in sizes.backbones:
        plain = configs[name]()
        config = with_dsts(plain, hidden_channels=sizes.hidden_channels)
        alone, dsts = (build(c, settings.device) for c in (plain, config))
        deployed = mmdsts.deploy(dsts)
        clip = batch(plain, 1, sizes.frames, sizes.test_size)
        clips = batch(plain, sizes.train_clips, sizes.frames, sizes.train_size)
        models = {ALONE: alone, DSTS: dsts, DEPLOYED: deployed}
        test = measure(
            'end2end', [Case(kind, _test(model, clip, settings), samples=1) for kind, model in models.items()], settings
        )
        train = measure(
            'end2end',
            [Case(kind, _train(models[kind], clips, settings), samples=sizes.train_clips) for kind in (ALONE, DSTS)],
            settings,
        )
        if name.startswith('SlowOnly'):
            what = f'{name}, {sizes.frames} x {sizes.test_size}^2, test time'
            goals += [
                Goal(f'{what}: {kind} against the backbone alone', 1.05, ratio(test, kind, ALONE))
                for kind in (DSTS, DEPLOYED)
            ]
        for stage, found, size in (('test', test, sizes.test_size), ('training', train, sizes.train_size)):
            for row in found:
                row.name = f'{name}, {stage}, {size}^2: {row.name}'
            rows += found
    return SuiteResult(rows, goals)


def _test(model: nn.Module, data: dict[str, Any], settings: Settings) -> Callable[[], Any]:
    inputs = model.data_preprocessor(data, False)['inputs']

    def run_once() -> Any:
        # Set each time: the same model is also timed in training.
        model.eval()
        with torch.no_grad(), settings.autocast():
            feats, head_kwargs = model.extract_feat(inputs, test_mode=True)
            return model.cls_head(feats, **head_kwargs)

    return run_once


def _train(model: nn.Module, data: dict[str, Any], settings: Settings) -> Callable[[], Any]:
    inputs = model.data_preprocessor(data, True)

    def run_once() -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        with settings.autocast():
            losses = model(**inputs, mode='loss')
        model.parse_losses(losses)[0].backward()

    return run_once
