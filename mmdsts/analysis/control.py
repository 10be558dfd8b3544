"""A positive control: features made to the premise of the paper, on which specialization must show.

Similar samples form groups, and what tells apart the classes of a group lies in directions of the group's own. Those
of all other groups carry random bits of the same size, so that only who knows the group knows where to look.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from .ablation.extraction import fingerprint, save_features
from .ablation.features import FeatureSet


@dataclass(frozen=True)
class ControlSpec:
    """What a control looks like.

    A feature is the sum of its group's mean, of every group's bits along that group's directions, and of noise. Bits
    are spatial and temporal in turn: the sign of a gradient from left to right, the sign of a rise and fall in time.
    Both have a mean of zero, so that pooling leaves the group and nothing of the class. The class is the group with
    its own bits.

    Args:
        groups: Number of groups.
        bits: Bits of a group; it has ``2 ** bits`` classes. Defaults to 2, one in space and one in time.
        channels: Channels ``C``. Defaults to 16.
        size: ``(T, H, W)``. Defaults to ``(8, 4, 4)``.
        noise: Standard deviation of the noise of an entry; a gradient runs from -1 to 1. Defaults to 0.5.
        distance: Length of the group means, random vectors. Defaults to 2.
        seed: Seed of directions, samples and noise. Defaults to 0.

    Raises:
        ValueError: A number is out of range.
    """

    groups: int = 8
    bits: int = 2
    channels: int = 16
    size: tuple[int, int, int] = (8, 4, 4)
    noise: float = 0.5
    distance: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('groups', 'bits', 'channels', 'seed'):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f'{name} must be a whole number, got {getattr(self, name)!r}')
        for name in ('groups', 'bits', 'channels'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        size = self.size if isinstance(self.size, (tuple, list)) else ()
        if len(size) != 3 or not all(isinstance(n, int) for n in size) or min(size[0], size[2]) < 2 or size[1] < 1:
            raise ValueError(f'size must be (T, H, W) with at least 2 frames and a width of 2, got {self.size!r}')
        for name in ('noise', 'distance'):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < float('inf'):
                raise ValueError(f'{name} must be a number that is not negative, got {value!r}')

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.groups * 2**self.bits


def make_control(spec: ControlSpec, train: int = 3000, test: int = 3000) -> tuple[FeatureSet, FeatureSet]:
    """Draw training and test samples of one control.

    Args:
        spec: What it looks like.
        train: Number of training samples. Defaults to 3000.
        test: Number of test samples. Defaults to 3000.

    Returns:
        Training and test set; their ``groups`` are the groups.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    means = F.normalize(torch.randn(spec.groups, spec.channels, generator=generator), dim=1) * spec.distance
    directions = F.normalize(torch.randn(spec.groups, spec.bits, spec.channels, generator=generator), dim=2)
    patterns = _patterns(spec)
    return tuple(_draw(n, spec, means, directions, patterns, generator) for n in (train, test))


def control_files(spec: ControlSpec, folder: Path, train: int = 3000, test: int = 3000) -> list[Path]:
    """Write a control, for runs in processes of their own.

    Args:
        spec: What it looks like.
        folder: The files are written into a folder in it that is named by what they hold; complete ones are kept.
        train: Number of training samples. Defaults to 3000.
        test: Number of test samples. Defaults to 3000.

    Returns:
        Files of the training and of the test set.
    """
    folder = folder / 'control' / fingerprint('control 1', asdict(spec), train, test)
    files = [folder / 'train.pt', folder / 'test.pt']
    if not all(file.is_file() for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        for features, file in zip(make_control(spec, train, test), files):
            save_features(features, file)
    return files


def control_config(spec: ControlSpec) -> Config:
    """Config of a recognizer for a control: two layers, as many neurons as there are groups, and a linear head."""
    dsts = dict(type='DSTSNeck', in_channels=spec.channels, num_layers=2, num_neurons=spec.groups)
    head = dict(type='I3DHead', in_channels=spec.channels, num_classes=spec.num_classes, dropout_ratio=0.0)
    return Config(dict(model=dict(neck=dsts, cls_head=head)))


def _patterns(spec: ControlSpec) -> Tensor:
    """Course of each bit in time and space, each between -1 and 1 and with a mean of zero, ``(bits, T, H, W)``."""
    frames, height, width = spec.size
    gradient = torch.linspace(-1, 1, width).expand(frames, height, width)
    tent = 1 - 4 * ((torch.arange(frames) + 0.5) / frames - 0.5).abs()
    rise_and_fall = (tent - tent.mean()).view(-1, 1, 1).expand(frames, height, width)
    return torch.stack([rise_and_fall if bit % 2 else gradient for bit in range(spec.bits)])


def _draw(
    n: int, spec: ControlSpec, means: Tensor, directions: Tensor, patterns: Tensor, generator: torch.Generator
) -> FeatureSet:
    group = torch.randint(spec.groups, (n,), generator=generator)
    bits = torch.randint(2, (n, spec.groups, spec.bits), generator=generator)
    features = torch.einsum('ngb,gbc,bthw->ncthw', bits.float() * 2 - 1, directions, patterns)
    features += means[group].view(n, -1, 1, 1, 1)
    features += spec.noise * torch.randn(features.shape, generator=generator)
    own = (bits[torch.arange(n), group] * 2 ** torch.arange(spec.bits)).sum(dim=1)
    return FeatureSet(features, group * 2**spec.bits + own, group)
