"""Upstream-Downstream Learning (METHOD 2): its gradient, and its place in MMEngine's training."""

from .constructor import UDLOptimWrapperConstructor
from .hooks import RandomStateHook, RoutingWatchHook, TemperatureHook
from .hypergradient import Features, MetaGradient, SimulatedStep, meta_gradient, simulated_step, upstream_gradient
from .loops import UDLEpochBasedTrainLoop, UDLIterBasedTrainLoop
from .optim_wrapper import UDLOptimWrapper
from .options import UDLOptions
from .schedulers import group_scheduler
from .upstream import split_parameters

__all__ = [
    'Features', 'MetaGradient', 'RandomStateHook', 'RoutingWatchHook', 'SimulatedStep', 'TemperatureHook',
    'UDLEpochBasedTrainLoop', 'UDLIterBasedTrainLoop', 'UDLOptimWrapper', 'UDLOptimWrapperConstructor', 'UDLOptions',
    'group_scheduler', 'meta_gradient', 'simulated_step', 'split_parameters', 'upstream_gradient'
]
