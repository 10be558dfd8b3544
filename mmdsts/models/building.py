"""Models that are built to be looked at, not to be trained from published weights."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Any, Iterator

from mmengine.logging import MMLogger


@contextmanager
def quietly() -> Iterator[None]:
    """Leave out the pages that MMEngine and some backbones log about how each weight starts."""
    before = logging.root.manager.disable
    _disable(max(before, logging.INFO))
    try:
        yield
    finally:
        _disable(before)


def _disable(level: int) -> None:
    logging.disable(level)
    # MMEngine's loggers remember what was enabled, and logging, which does not know them, cannot make them forget.
    logger = MMLogger.get_current_instance()
    logger.setLevel(logger.level)


def without_weights(part: Any) -> Any:
    """A config without what some backbones (TANet, those of timm and torchvision) load when they are built."""
    if isinstance(part, list):
        return [without_weights(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    off = {name: False if isinstance(part[name], bool) else None for name in ('pretrained', 'weights') if name in part}
    return {name: off[name] if name in off else without_weights(value) for name, value in part.items()}
