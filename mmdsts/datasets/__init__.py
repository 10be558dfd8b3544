"""Datasets: FineGym and Diving48 from their official lists; the rendered ToyGym uses FineGym's format."""

from .diving48 import Diving48Dataset
from .finegym import FineGymDataset

__all__ = ['Diving48Dataset', 'FineGymDataset']
