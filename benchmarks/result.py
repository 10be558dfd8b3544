"""What a suite returns."""

from __future__ import annotations

from typing import NamedTuple

from .goals import Goal
from .measure import Row


class SuiteResult(NamedTuple):
    """Rows of a suite and the goals that it can tell of."""

    rows: list[Row]
    goals: list[Goal]
