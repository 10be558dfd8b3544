"""Which parameters of a model are upstream (METHOD 2): the modules say it themselves."""

from __future__ import annotations

from torch import nn

#: Class attribute by which a module declares the names of its own parameters that decide.
DECLARATION = 'upstream_parameter_names'


def split_parameters(
    model: nn.Module, trainable_only: bool = True
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Split the parameters of a model.

    Any module may take part: it declares ``upstream_parameter_names = ('score', ...)``, names of its *own*
    parameters. Everything else is downstream.

    Args:
        model: The bare model, not its distributed wrapper.
        trainable_only: Whether parameters with ``requires_grad=False`` belong to neither. That is how things stand at
            the moment: backbones of MMAction2 freeze parameters (``frozen_stages``, ``partial_bn``) in ``train()``.
            Defaults to True.

    Returns:
        Upstream and downstream parameters by full name, both in the order of ``model.named_parameters()``.

    Raises:
        ValueError: A module declares a parameter that it does not have, or nothing trainable is declared.
    """
    upstream = declared_parameters(model, trainable_only)
    if not upstream:
        raise ValueError(
            f'{type(model).__name__} has no trainable upstream parameters: no module of it declares any in '
            f'{DECLARATION}. Add a neck that does, such as DSTSNeck, or train with OptimWrapper and '
            'EpochBasedTrainLoop'
        )
    return upstream, {n: p for n, p in _parameters(model, trainable_only) if n not in upstream}


def declared_parameters(model: nn.Module, trainable_only: bool = True) -> dict[str, nn.Parameter]:
    """Upstream parameters by full name, none for a model without any; see :func:`split_parameters`.

    Raises:
        ValueError: A module declares a parameter that it does not have.
    """
    declared = set()
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        for name in getattr(module, DECLARATION, ()):
            if name not in own:
                raise ValueError(
                    f'{type(module).__name__} at {prefix or "the root"!r} declares {name!r} in '
                    f'{DECLARATION}, but its own parameters are {sorted(own)}; correct the declaration'
                )
            declared.add(id(own[name]))
    return {n: p for n, p in _parameters(model, trainable_only) if id(p) in declared}


def _parameters(model: nn.Module, trainable_only: bool) -> list[tuple[str, nn.Parameter]]:
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad or not trainable_only]
