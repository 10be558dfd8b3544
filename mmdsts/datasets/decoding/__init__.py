"""Readers of a part of a video: PyAV's and decord's, and when each is taken."""

from .av_reader import AvReader
from .choice import open_instead, open_window
from .decord_window import DecordWindow

__all__ = ['AvReader', 'DecordWindow', 'open_instead', 'open_window']
