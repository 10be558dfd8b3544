"""Loss scale of the simulated and meta steps in float16."""

from __future__ import annotations


class InnerScale:
    """A power of two that falls when a meta gradient overflows and rises after a while without overflow.

    The actual step keeps a ``GradScaler`` of its own: it differentiates once, the meta step twice, so they
    overflow at different scales. The gradients that come out of the meta step are unscaled.

    Args:
        enabled: False means a scale of 1 for ever, as bfloat16 and float32 need none.
        growth_interval: Accepted steps after which the scale doubles. Defaults to 2000, as in ``GradScaler``.
    """

    def __init__(self, enabled: bool, growth_interval: int = 2000) -> None:
        self.enabled = enabled
        self.growth_interval = growth_interval
        self.value = 2.0**16 if enabled else 1.0
        self._accepted = 0

    def accepts(self, finite: bool) -> bool:
        """Take note of a step, where the scale is enabled.

        Args:
            finite: Whether losses and gradients of the step are finite.

        Returns:
            False where the scale alone may be at fault: leave the update out and go on with a smaller scale.
        """
        if not finite:
            self._accepted = 0
            if self.value <= 1:
                return True  # not the scale's fault any more
            self.value /= 2
            return False
        self._accepted += 1
        if self._accepted == self.growth_interval:
            self._accepted = 0
            self.value *= 2
        return True

    def state_dict(self) -> dict:
        """Scale and count, numbers."""
        return dict(value=self.value, accepted=self._accepted)

    def load_state_dict(self, state: dict) -> None:
        """Inverse of :meth:`state_dict`; without effect where no scale is used."""
        if self.enabled:
            self.value, self._accepted = state['value'], state['accepted']
