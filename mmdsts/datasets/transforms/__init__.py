"""Transforms that MMAction2's registry gets from here."""

from .clip_decode import ClipDecode
from .clip_init import ClipInit

__all__ = ['ClipDecode', 'ClipInit']
