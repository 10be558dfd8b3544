"""One layer in training: ways to compute it, and layers without a choice."""

from __future__ import annotations

from dataclasses import dataclass

from mmdsts.models import DSTSLayer

from ..goals import Goal
from ..layers import feature, layer, training_step
from ..measure import Case, Settings, measure, ratio
from ..references import FORMS, ConvPair, ReferenceLayer
from ..result import SuiteResult

OURS, STATIC = 'DSTS layer', 'static layer (N = 1)'


@dataclass
class LayerSizes:
    """Sizes of the feature and the layer."""

    channels: int = 256
    num_neurons: int = 10
    batch: int = 16
    size: tuple = (8, 7, 7)


def run(settings: Settings, sizes: LayerSizes | None = None) -> SuiteResult:
    """Forward and backward pass of each form.

    Args:
        settings: See :class:`Settings`.
        sizes: Defaults to None, those of the goals.
    """
    sizes = sizes or LayerSizes()
    x = feature(sizes.batch, sizes.channels, sizes.size, settings)
    ours = layer(sizes.channels, sizes.num_neurons, x)
    modules = [
        (OURS, ours),
        (STATIC, DSTSLayer(sizes.channels, 1).to(x.device)),
        ('plain Conv3d pair', ConvPair(sizes.channels).to(x.device)),
    ]
    modules += [(name, ReferenceLayer(ours, form, literal)) for name, form, literal in FORMS]
    cases = [Case(name, training_step(module, x, settings)) for name, module in modules]
    rows = measure('layer', cases, settings)
    dense = FORMS[0][0]
    where = f'N = {sizes.num_neurons}, C = {sizes.channels}, {sizes.size}, B = {sizes.batch}'
    goals = [
        Goal(f'training layer, {where}: time against the static one-neuron layer', 1.3, ratio(rows, OURS, STATIC)),
        Goal('the same: literal dense form, time against ours', 5, ratio(rows, dense, OURS), at_most=False),
        Goal('the same: our memory against the literal dense form', 0.25, ratio(rows, OURS, dense, 'memory')),
    ]
    return SuiteResult(rows, goals)
