"""The last map of a backbone of torchvision, which its own forward pass pools or classifies."""

from __future__ import annotations

from functools import partial
from types import MethodType

from torch import Tensor, nn


def refuse_logits(backbone: nn.Module, expected: int | None) -> None:
    """Refuse a head for the logits of a vision transformer, which MMAction2 hands on: it does not know its classifier.

    Args:
        backbone: A model of torchvision.
        expected: Channels that the head takes; None: unknown.

    Raises:
        ValueError: They are those of the logits.
    """
    linear = [m for m in getattr(backbone, 'heads', nn.Identity()).modules() if isinstance(m, nn.Linear)]
    if linear and expected == linear[-1].out_features != linear[0].in_features:
        raise ValueError(
            f'cls_head.in_channels={expected} is the number of logits of {type(backbone).__name__}, which are '
            f'left out here; its last map has {linear[0].in_features} channels: set cls_head.in_channels to that'
        )


def give_features(backbone: nn.Module) -> None:
    """Give a classifier of torchvision a method ``features``: its last map, before pooling and classifying.

    Args:
        backbone: ResNet and other nets that pool by a module ``avgpool``, vision transformers, ShuffleNetV2 or MNASNet.

    Raises:
        ValueError: It is none of these.
    """
    known = [(name, taken) for name, taken in _LAST_MAPS.items() if hasattr(backbone, name)]
    if not known:
        raise ValueError(
            f'{type(backbone).__name__} of torchvision has neither features nor one of {tuple(_LAST_MAPS)}: it is not '
            'known which of its maps is the last one. Take another backbone, or this one from timm'
        )
    for name in ('fc', 'classifier', 'head', 'heads'):
        # Not run for a loss, so it would have no gradient.
        if hasattr(backbone, name):
            setattr(backbone, name, nn.Identity())
    backbone.features = MethodType(partial(_last_map, *known[0]), backbone)


# Modules of torchvision's classifiers, and whether the last map goes in or comes out.
_LAST_MAPS = {'avgpool': 'in', 'encoder': 'out', 'conv5': 'out', 'layers': 'out'}


def _last_map(name: str, taken: str, backbone: nn.Module, x: Tensor) -> Tensor:
    found = []
    hook = getattr(backbone, name).register_forward_hook(
        lambda module, args, out: found.append(args[0] if taken == 'in' else out)
    )
    try:
        backbone(x)
    finally:
        hook.remove()
    return found[-1]
