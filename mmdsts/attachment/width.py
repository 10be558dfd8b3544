"""How wide the layers of a neck are, by its share in the parameters of the model (METHOD, "Width")."""

from __future__ import annotations

import json
from functools import lru_cache

from mmdsts.engine.random_state import preserve_random_state
from mmdsts.errors import UsageError
from mmdsts.models import DSTSNeck

from .dry_run import count_parameters
from .options import Options

#: Widths of the layers are multiples of this.
_STEP = 8


def sizes(options: Options) -> dict[str, int]:
    """Arguments of the neck that are chosen by hand alone."""
    return dict(num_layers=options.num_layers, num_neurons=options.num_neurons)


def layer_width(neck: dict, others: int, options: Options, name: str) -> int | None:
    """Width of the layers: as wide as the neck's share in the parameters allows.

    Args:
        neck: Arguments of the neck but ``hidden_channels``.
        others: Parameters of the rest of the model.
        options: Say the largest share, or the width itself.
        name: Of the config, for errors.

    Returns:
        A multiple of 8, or None: the width of the feature, without projections.

    Raises:
        UsageError: The share is too small for any width.
    """
    if options.hidden_channels is not None:
        return options.hidden_channels

    def share(width: int | None) -> float:
        own = count_neck(dict(neck, hidden_channels=width))
        return own / (own + others)

    if share(None) <= options.max_share:
        return None
    # More width is more parameters: the widest that fits is found by halving.
    low, high = 0, -(-neck['in_channels'] // _STEP)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle * _STEP) <= options.max_share else (low, middle)
    if low == 0:
        raise UsageError(
            f'config {name}: even with hidden_channels={_STEP} the neck would hold {100 * share(_STEP):.0f} % of the '
            f'parameters, more than {100 * options.max_share:g} %. Take fewer neurons or layers, allow more with '
            '--max-share, or set --hidden-channels'
        )
    return low * _STEP


def count_neck(neck: dict) -> int:
    """Parameters of a DSTS neck, of which only narrow ones are built: the number is quadratic in the width."""
    key = 'in_channels' if neck.get('hidden_channels') is None else 'hidden_channels'
    one, two, three = (_count(json.dumps(dict(neck, **{key: width}), sort_keys=True)) for width in (1, 2, 3))
    w = neck[key]
    return (one * (w - 2) * (w - 3) - 2 * two * (w - 1) * (w - 3) + three * (w - 1) * (w - 2)) // 2


@lru_cache(maxsize=None)
def _count(neck: str) -> int:
    arguments = json.loads(neck)
    arguments.pop('type', None)
    with preserve_random_state():
        return count_parameters(DSTSNeck(**arguments))
