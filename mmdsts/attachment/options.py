"""What can be chosen by hand where DSTS is attached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What can be chosen by hand.

    Args:
        num_layers: Layers of the neck. Defaults to 3.
        num_neurons: Neurons of a layer. Defaults to 10.
        hidden_channels: Width of the layers. Defaults to None: the widest, in steps of 8, that keeps to ``max_share``.
        max_share: Largest share of the neck in the parameters of the whole model. Defaults to 0.25.
        pooled: Whether features that the backbone has pooled ``(B, C)`` are taken, as maps of ``T = H = W = 1``.
            Defaults to False.
        udl: Whether to train by UDL. Defaults to True.

    Raises:
        ValueError: A number is out of range.
    """

    num_layers: int = 3
    num_neurons: int = 10
    hidden_channels: int | None = None
    max_share: float = 0.25
    pooled: bool = False
    udl: bool = True

    def __post_init__(self) -> None:
        for name in ('num_layers', 'num_neurons', 'hidden_channels'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if not 0 < self.max_share < 1:
            raise ValueError(f'max_share must be between 0 and 1, got {self.max_share}')
