"""How a backbone takes part in the three steps of UDL (METHOD 2)."""

from .features import ForwardModeError
from .part import BackbonePart, in_simulated_step, take_part
from .tape import BackboneTape

__all__ = ['BackbonePart', 'BackboneTape', 'ForwardModeError', 'in_simulated_step', 'take_part']
