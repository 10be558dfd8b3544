"""Datasets: FineGym and Diving48 from their official lists; the rendered ToyGym uses FineGym's format."""

from .diving48 import Diving48Dataset
from .finegym import FineGymDataset
from .transforms import ClipDecode, ClipInit

__all__ = ['ClipDecode', 'ClipInit', 'Diving48Dataset', 'FineGymDataset']
