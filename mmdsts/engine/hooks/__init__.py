"""Hooks for the training of DSTS necks, and those that keep a training safe."""

from .checkpoint_hook import DurableCheckpointHook
from .finite_hook import FiniteHook
from .random_state_hook import RandomStateHook
from .routing_watch_hook import RoutingWatchHook
from .stop_hook import StopHook
from .temperature_hook import TemperatureHook

__all__ = ['DurableCheckpointHook', 'FiniteHook', 'RandomStateHook', 'RoutingWatchHook', 'StopHook', 'TemperatureHook']
