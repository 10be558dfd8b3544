"""One layer in evaluation: as trained, deployed, and without a choice."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmdsts.deployment.deployed_layer import DeployedLayer
from mmdsts.deployment.graph import GatheredLayer
from mmdsts.models import DSTSLayer

from ..goals import Goal
from ..layers import evaluation, feature, layer
from ..measure import Case, Settings, measure, ratio
from ..references import ConvPair
from ..result import SuiteResult

STATIC = 'static layer (N = 1), evaluation'


@dataclass
class DeploySizes:
    """Sizes of the feature and the layers."""

    channels: int = 256
    num_neurons: tuple = (4, 10, 64)
    batch: int = 16
    size: tuple = (8, 7, 7)


def run(settings: Settings, sizes: DeploySizes | None = None) -> SuiteResult:
    """Forward pass of each layer.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, those of the goals.
    """
    sizes = sizes or DeploySizes()
    x = feature(sizes.batch, sizes.channels, sizes.size, settings)
    static = DSTSLayer(sizes.channels, 1).to(x.device)
    cases = [
        Case(STATIC, evaluation(static, x, settings)),
        Case('plain Conv3d pair, evaluation', evaluation(ConvPair(sizes.channels).to(x.device), x, settings)),
    ]
    for n in sizes.num_neurons:
        trained = layer(sizes.channels, n, x).eval()
        deployed = DeployedLayer.from_layer(trained)
        with torch.no_grad():
            note = f'{len(trained(x)[1].index.unique())} neurons active'
        cases += [
            Case(_name('as trained', n), evaluation(trained, x, settings), note=note),
            Case(_name('deployed', n), evaluation(deployed, x, settings), note=note),
            Case(
                _name('deployed, form of exported graphs', n),
                evaluation(GatheredLayer(deployed), x, settings),
                note=note,
            ),
        ]
    rows = measure('deploy', cases, settings)
    few, many = min(sizes.num_neurons), max(sizes.num_neurons)
    goals = [
        Goal(
            f'deployed layer, N = {n}: time against the static layer in evaluation',
            0.75,
            ratio(rows, _name('deployed', n), STATIC),
        )
        for n in sizes.num_neurons
    ]
    goals.append(
        Goal(
            f'deployed layer, N = {many} against N = {few}: time (flat in N)',
            1.15,
            ratio(rows, _name('deployed', many), _name('deployed', few)),
        )
    )
    return SuiteResult(rows, goals)


def _name(kind: str, n: int) -> str:
    return f'N = {n:2d}, {kind}'
