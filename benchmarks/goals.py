"""Goals beside what was measured; nothing is asserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Goal:
    """A ratio that is aimed at.

    Args:
        what: What is compared, in words.
        bound: The goal.
        measured: The ratio in this run.
        at_most: Whether smaller is better. Defaults to True.
    """

    what: str
    bound: float
    measured: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dict(
            what=self.what,
            goal=('at most' if self.at_most else 'at least') + f' {self.bound:g}',
            measured=self.measured,
            met=self.met,
        )
