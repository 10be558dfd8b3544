"""Paired experiments: variants of a model, trained from the same start on the same batches, and what they differ by.

Importing it registers the modules that only ablations use, such as :class:`TwoOperatorNeck`.
"""

from .extraction import extract_features
from .features import FeatureSet
from .frozen import FeatureRun, FrozenRecognizer, train_on_features
from .record import ClipScores
from .restricted import FixedRoutingNeck, SpatialNeck, TemporalNeck, UngatedNeck
from .two_operators import TwoOperatorNeck
from .variants import Variant, find_variants

__all__ = [
    'ClipScores',
    'FeatureRun',
    'FeatureSet',
    'FixedRoutingNeck',
    'FrozenRecognizer',
    'SpatialNeck',
    'TemporalNeck',
    'TwoOperatorNeck',
    'UngatedNeck',
    'Variant',
    'extract_features',
    'find_variants',
    'train_on_features',
]
