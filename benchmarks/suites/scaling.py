"""Cost of a training step of one layer against the number of neurons and the sizes of the feature."""

from __future__ import annotations

from dataclasses import dataclass

from ..goals import Goal
from ..layers import feature, layer, training_step
from ..measure import Case, Row, Settings, measure, ratio
from ..result import SuiteResult

#: Neurons to the time that a training step may take, of that with one neuron.
TWIN_GOALS = {10: 1.4, 32: 1.7}


@dataclass
class ScalingSizes:
    """What is varied, the rest being that of the goals; ``twins`` are channels and batch of layers that are measured
    beside their static twin.
    """

    num_neurons: tuple = (1, 2, 4, 10, 16, 32, 64)
    channels: tuple = (64, 128, 512)
    batches: tuple = (1, 4, 64)
    sizes: tuple = ((4, 7, 7), (16, 7, 7), (8, 14, 14))
    base: tuple = (10, 256, 16, (8, 7, 7))
    twins: tuple = ((64, 24), (128, 8), (128, 16))


def run(settings: Settings, sizes: ScalingSizes | None = None) -> SuiteResult:
    """Forward and backward pass, one size changed at a time.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, those of the goals.
    """
    sizes = sizes or ScalingSizes()
    base_n, base_c, base_b, base_s = sizes.base
    rows = measure('scaling', [_case(n, base_c, base_b, base_s, settings) for n in sizes.num_neurons], settings)
    # One series after the other: layers of one series only are held at a time.
    for series in (
        [(base_n, c, base_b, base_s) for c in sizes.channels],
        [(base_n, base_c, b, base_s) for b in sizes.batches],
        [(base_n, base_c, base_b, s) for s in sizes.sizes],
    ):
        rows += measure('scaling', [_case(*values, settings) for values in series], settings)
    goals = []
    if {4, 64} <= set(sizes.num_neurons):
        measured = ratio(rows, _name(64, base_c, base_b, base_s), _name(4, base_c, base_b, base_s))
        goals.append(Goal('training layer, N = 64 against N = 4: time', 1.15, measured))
    if {1, *TWIN_GOALS} <= set(sizes.num_neurons):
        goals += _twin_goals(rows, base_c, base_b, base_s)
    for channels, batch in sizes.twins:
        pair = measure('scaling', [_case(n, channels, batch, base_s, settings) for n in (1, *TWIN_GOALS)], settings)
        goals += _twin_goals(pair, channels, batch, base_s)
        rows += pair
    return SuiteResult(rows, goals)


def _twin_goals(rows: list[Row], c: int, b: int, s: tuple) -> list[Goal]:
    return [
        Goal(
            f'training layer, N = {n}, C = {c}, B = {b}: time against its static twin',
            bound,
            ratio(rows, _name(n, c, b, s), _name(1, c, b, s)),
        )
        for n, bound in TWIN_GOALS.items()
    ]


def _name(n: int, c: int, b: int, s: tuple) -> str:
    return f'N = {n:2d}, C = {c:3d}, B = {b:2d}, T x H x W = ' + ' x '.join(map(str, s))


def _case(n: int, c: int, b: int, s: tuple, settings: Settings) -> Case:
    x = feature(b, c, s, settings)
    return Case(_name(n, c, b, s), training_step(layer(c, n, x), x, settings))
