"""Upstream-Downstream Learning (METHOD 2): its gradient, and its place in MMEngine's training."""

from .checkpoint_files import CheckpointError
from .constructor import UDLOptimWrapperConstructor
from .hooks import DurableCheckpointHook, FiniteHook, RandomStateHook, RoutingWatchHook, StopHook
from .hypergradient import Features, MetaGradient, SimulatedStep, meta_gradient, simulated_step, upstream_gradient
from .log_processor import LayerLogProcessor
from .loops import UDLEpochBasedTrainLoop, UDLIterBasedTrainLoop
from .optim_wrapper import UDLOptimWrapper
from .options import UDLOptions
from .schedulers import group_scheduler
from .upstream import split_parameters

__all__ = [
    'CheckpointError',
    'DurableCheckpointHook',
    'Features',
    'FiniteHook',
    'LayerLogProcessor',
    'MetaGradient',
    'RandomStateHook',
    'RoutingWatchHook',
    'SimulatedStep',
    'StopHook',
    'UDLEpochBasedTrainLoop',
    'UDLIterBasedTrainLoop',
    'UDLOptimWrapper',
    'UDLOptimWrapperConstructor',
    'UDLOptions',
    'group_scheduler',
    'meta_gradient',
    'simulated_step',
    'split_parameters',
    'upstream_gradient',
]
