"""Hooks that UDL training uses."""

from .random_state_hook import RandomStateHook
from .temperature_hook import TemperatureHook

__all__ = ['RandomStateHook', 'TemperatureHook']
