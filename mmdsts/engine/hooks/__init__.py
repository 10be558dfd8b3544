"""Hooks for the training of DSTS necks."""

from .random_state_hook import RandomStateHook
from .routing_watch_hook import RoutingWatchHook
from .temperature_hook import TemperatureHook

__all__ = ['RandomStateHook', 'RoutingWatchHook', 'TemperatureHook']
