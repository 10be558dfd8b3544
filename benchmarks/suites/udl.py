"""A training iteration: plain, with our three steps, and with the three steps unrolled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import SGD

from mmdsts.engine import UDLOptimWrapperConstructor

from ..goals import Goal
from ..measure import Case, Row, Settings, measure, ratio
from ..recognizers import batch, build, slowonly, tsm, with_dsts
from ..result import SuiteResult
from ..unrolled import NAME, UnrolledUDL

# Small, so that the weights hardly move while the steps are timed.
LR = 1e-5
OURS = [
    (f'{scope}, {method.replace("_", " ")}', dict(scope=scope, method=method))
    for scope in ('neck', 'full')
    for method in ('exact', 'finite_difference')
]


@dataclass
class UDLSizes:
    """Size of a batch and of the neck, and the backbones."""

    clips: int = 8
    frames: int = 8
    size: int = 112
    base_channels: int = 64
    hidden_channels: int = 128
    num_neurons: int = 10
    backbones: tuple = ('SlowOnly-R18', 'TSM-R18')


def run(settings: Settings, sizes: UDLSizes | None = None) -> SuiteResult:
    """One iteration of each kind on each backbone.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, small ones that a CPU does in time.
    """
    sizes = sizes or UDLSizes()
    rows, goals = [], []
    for name in sizes.backbones:
        config = slowonly(18, sizes.base_channels) if name.startswith('SlowOnly') else tsm(18)
        config = with_dsts(config, hidden_channels=sizes.hidden_channels, num_neurons=sizes.num_neurons)
        found = measure('udl', _cases(config, settings, sizes), settings)
        goals += _goals(name, found)
        for row in found:
            row.name = f'{name}: {row.name}'
        rows += found
    return SuiteResult(rows, goals)


def _cases(config: dict[str, Any], settings: Settings, sizes: UDLSizes) -> list[Case]:
    data, heldout = (batch(config, sizes.clips, sizes.frames, sizes.size, seed) for seed in (0, 1))
    runs: list[tuple[str, Callable[[], Any]]] = [('plain step', _plain(build(config, settings.device), data, settings))]
    runs += [(name, _udl(build(config, settings.device), data, heldout, settings, options)) for name, options in OURS]
    unrolled = UnrolledUDL(build(config, settings.device).train(), LR)
    runs.append((NAME, lambda: unrolled.step(data, heldout, settings.autocast)))
    return [Case(name, step, samples=sizes.clips) for name, step in runs]


def _plain(model: nn.Module, data: dict[str, Any], settings: Settings) -> Callable[[], Any]:
    wrapper = OptimWrapper(SGD(model.parameters(), lr=LR, momentum=0.9))
    model.train()

    def step() -> None:
        with settings.autocast():
            losses = model(**model.data_preprocessor(data, True), mode='loss')
        wrapper.update_params(model.parse_losses(losses)[0])

    return step


def _udl(
    model: nn.Module, data: dict[str, Any], heldout: dict[str, Any], settings: Settings, options: dict[str, Any]
) -> Callable[[], Any]:
    config = dict(type='UDLOptimWrapper', optimizer=dict(type='SGD', lr=LR, momentum=0.9), udl=options)
    if settings.mixed:
        config['amp'] = dict(dtype=str(settings.dtype).split('.')[1])
    wrapper = UDLOptimWrapperConstructor(config)(model)
    model.train()
    return lambda: wrapper.train_step(model, data, heldout)


def _goals(backbone: str, rows: list[Row]) -> list[Goal]:
    exact = 'full, exact'
    return [
        Goal(f'{backbone}: UDL neck exact, time against a plain step', 1.6, ratio(rows, 'neck, exact', 'plain step')),
        Goal(f'{backbone}: UDL full exact, time against a plain step', 4, ratio(rows, exact, 'plain step')),
        Goal(f'{backbone}: {NAME}, time against UDL full exact', 1.5, ratio(rows, NAME, exact), at_most=False),
        Goal(f'{backbone}: UDL full exact, memory against {NAME}', 1, ratio(rows, exact, NAME, 'memory')),
    ]
