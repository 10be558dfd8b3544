"""Datasets: FineGym and Diving48 from their official lists, and videos from a table of one's own.

The rendered ToyGym uses FineGym's format.
"""

from .diving48 import Diving48Dataset
from .finegym import FineGymDataset
from .transforms import ClipDecode, ClipInit
from .video_table import VideoTableDataset

__all__ = ['ClipDecode', 'ClipInit', 'Diving48Dataset', 'FineGymDataset', 'VideoTableDataset']
