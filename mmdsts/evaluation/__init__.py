"""Metrics for fine-grained classes, which are uneven and rarely all present."""

from .class_accuracy import ClassAccuracyMetric

__all__ = ['ClassAccuracyMetric']
