"""DSTS for MMAction2: routing, gates, neuron, layer, neck, and what fits them to backbones and recognizers."""

from .backbones_with_map import TimeSformerWithMap, UniFormerV2WithMap, VisionTransformerWithMap
from .layer import DSTSLayer
from .neck import DSTSNeck
from .neck_chain import NeckChain
from .neuron import SpecializedNeuron
from .recognizer2d import DSTSRecognizer2D

__all__ = [
    'DSTSLayer',
    'DSTSNeck',
    'DSTSRecognizer2D',
    'NeckChain',
    'SpecializedNeuron',
    'TimeSformerWithMap',
    'UniFormerV2WithMap',
    'VisionTransformerWithMap',
]
