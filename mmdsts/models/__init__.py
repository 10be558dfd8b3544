"""DSTS for MMAction2: routing, gates, neuron, layer, neck and the recognizer for 2D backbones."""

from .layer import DSTSLayer
from .neck import DSTSNeck
from .neuron import SpecializedNeuron
from .recognizer2d import DSTSRecognizer2D

__all__ = ['DSTSLayer', 'DSTSNeck', 'DSTSRecognizer2D', 'SpecializedNeuron']
