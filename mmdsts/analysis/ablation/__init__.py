"""Paired experiments: variants of a model, trained from the same start on the same batches, and what they differ by.

Importing it registers the modules that only ablations use, such as :class:`TwoOperatorNeck`.
"""

from .extraction import extract_features
from .features import FeatureSet
from .frozen import FeatureRun, FrozenRecognizer, train_on_features
from .two_operators import TwoOperatorNeck

__all__ = ['FeatureRun', 'FeatureSet', 'FrozenRecognizer', 'TwoOperatorNeck', 'extract_features', 'train_on_features']
