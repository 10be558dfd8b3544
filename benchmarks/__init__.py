"""The benchmark behind ``tools/benchmark.py``: suites of cases, measured side by side, and the goals they tell of."""

from .goals import Goal
from .measure import Case, Row, Settings, measure
from .result import SuiteResult
from .suites import SUITES

__all__ = ['SUITES', 'Case', 'Goal', 'Row', 'Settings', 'SuiteResult', 'measure']
