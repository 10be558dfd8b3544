"""Hooks for the training of DSTS necks, those that keep a training safe, and one that draws."""

from .checkpoint_hook import DurableCheckpointHook
from .finite_hook import FiniteHook
from .random_state_hook import RandomStateHook
from .routing_watch_hook import RoutingWatchHook
from .stop_hook import StopHook
from .visualization_hook import ViewVisualizationHook

__all__ = [
    'DurableCheckpointHook',
    'FiniteHook',
    'RandomStateHook',
    'RoutingWatchHook',
    'StopHook',
    'ViewVisualizationHook',
]
