"""The variants of a model that an ablation compares, by name."""

from __future__ import annotations

import ast
import inspect
from typing import Any, Callable, NamedTuple

from mmaction.registry import MODELS
from mmengine.registry import DefaultScope

from mmdsts.errors import CONFIG_MISTAKES, UsageError, one_line
from mmdsts.models import DSTSNeck
from mmdsts.models.pulse import PULSES

UDL_SUFFIX = '+udl'
SHORT = dict(N='num_neurons', L='num_layers')

#: What a plain neck shares with a DSTS neck.
_SHARED = (
    'in_channels',
    'num_layers',
    'hidden_channels',
    'zero_init',
    'in_index',
    'keep_stages',
    'class_token',
    'grid',
    'norm_cfg',
    'act_cfg',
)


class Variant(NamedTuple):
    """One way to train one model.

    Attributes:
        name: As :func:`find_variant` takes it.
        title: What it is, in words.
        neck: Config of the neck; ``None``: no neck.
        udl: Whether it trains by UDL.
    """

    name: str
    title: str
    neck: dict | None
    udl: bool


def _plain(neck: dict, **changes: Any) -> dict:
    return dict({name: neck[name] for name in _SHARED if name in neck}, type='TwoOperatorNeck', **changes)


def _layer_width(neck: dict) -> int:
    return neck.get('hidden_channels') or neck['in_channels']


def _parameter_twin(neck: dict) -> dict:
    """Operators as wide as gives the number of trained values that is nearest to that of the DSTS neck."""
    wanted = count_parameters(neck)
    # The number is linear in the width.
    one, two = (count_parameters(_plain(neck, operator_channels=width)) for width in (1, 2))
    return _plain(neck, operator_channels=max(1, 1 + round((wanted - one) / (two - one))))


def _compute_twin(neck: dict) -> dict:
    """A gated neuron multiplies a channel 9 times in space or 3 times in time for each output, and once in the fusion:
    with half the gates open 7 times, where the plain layer does 9 + 3 + 1 = 13.
    """
    return _plain(neck, operator_channels=max(1, round(_layer_width(neck) * 7 / 13)))


_NAMED: dict[str, tuple[str, Callable[[dict], dict | None]]] = {
    'backbone': ('backbone alone', lambda neck: None),
    'static': ('static twin: one neuron a layer', lambda neck: dict(neck, num_neurons=1)),
    'parameter_twin': ('plain layers, as many parameters', _parameter_twin),
    'compute_twin': ('plain layers, as many multiply-adds', _compute_twin),
    'two_operators': ('plain layers, same width, twice the work', _plain),
    'dsts': ('DSTS', dict),
    'random_routing': ('random fixed routing', lambda neck: dict(neck, type='FixedRoutingNeck')),
    'no_gates': ('no gates, twice the work', lambda neck: dict(neck, type='UngatedNeck')),
    'spatial_only': ('spatial operators only', lambda neck: dict(neck, type='SpatialNeck')),
    'temporal_only': ('temporal operators only', lambda neck: dict(neck, type='TemporalNeck')),
}


def _other_neurons(neck: dict) -> list[str]:
    number = _argument(neck, 'num_neurons')
    return [f'N={value}' for value in sorted({2, max(2, number // 2), 2 * number} - {number})]


def _other_layers(neck: dict) -> list[str]:
    number = _argument(neck, 'num_layers')
    return [f'L={value}' for value in (number - 1, number + 1) if value >= 1]


_GROUPS: dict[str, Callable[[dict], list[str]]] = {
    'main': lambda neck: ['backbone', 'static', 'parameter_twin', 'compute_twin', 'dsts', 'dsts+udl'],
    'parts': lambda neck: ['two_operators', 'random_routing', 'no_gates', 'spatial_only', 'temporal_only'],
    'pulses': lambda neck: [f'pulse={p}' for p in PULSES.module_dict if p != _argument(neck, 'pulse')],
    'neurons': _other_neurons,
    'layers': _other_layers,
}
NAMES, GROUPS = tuple(_NAMED), (*_GROUPS, 'all')


def find_variants(names: list[str], neck: dict) -> list[Variant]:
    """Variants by name, each once, in the order given.

    Args:
        names: Names as :func:`find_variant` takes them, or of groups: ``'main'``, ``'parts'``, ``'pulses'``,
            ``'neurons'``, ``'layers'``, ``'all'``.
        neck: Config of a DSTS neck.

    Raises:
        UsageError: A name is unknown.
    """
    flat = []
    for name in names:
        groups = _GROUPS if name == 'all' else [name] if name in _GROUPS else []
        flat += [member for group in groups for member in _GROUPS[group](neck)] or [name]
    return [find_variant(name, neck) for name in dict.fromkeys(flat)]


def find_variant(name: str, neck: dict) -> Variant:
    """A variant of a model by its name.

    Args:
        name: One of :data:`NAMES`; or arguments of the DSTS neck to change, as ``'N=4'``, ``'pulse=sum'`` or
            ``'L=1,hidden_channels=32'``. With ``'+udl'`` at its end it trains by UDL.
        neck: Config of a DSTS neck.

    Raises:
        UsageError: The name is unknown, the neck has no such argument, or UDL would have nothing upstream to train.
    """
    base, udl = (name[: -len(UDL_SUFFIX)], True) if name.endswith(UDL_SUFFIX) else (name, False)
    if base in _NAMED:
        title, change = _NAMED[base]
        changed = change(neck)
    elif '=' in base:
        changes = _changes(base)
        title, changed = 'DSTS, ' + ', '.join(f'{key} = {value}' for key, value in changes.items()), {**neck, **changes}
    else:
        raise UsageError(
            f'{name}: unknown; expected one of {", ".join(NAMES)}, a group ('
            f'{", ".join(GROUPS)}) or an argument of the neck such as N=4, each with {UDL_SUFFIX} if '
            'it is to train by UDL'
        )
    if udl:
        if changed is None or changed['type'] == 'TwoOperatorNeck':
            raise UsageError(f'{name}: it has no pulses and no gates, so UDL has nothing upstream to train')
        title += ' + UDL'
    return Variant(name, title, changed, udl)


def check_variant(variant: Variant) -> None:
    """UsageError if the neck of a variant cannot be built."""
    try:
        count_parameters(variant.neck)
    except CONFIG_MISTAKES as error:
        raise UsageError(f'variant {variant.name}: {one_line(error)}') from error


def count_parameters(neck: dict | None) -> int:
    """Trained values of a neck."""
    if neck is None:
        return 0
    with DefaultScope.overwrite_default_scope('mmaction'):
        return sum(p.numel() for p in MODELS.build(dict(neck)).parameters() if p.requires_grad)


def _argument(neck: dict, name: str) -> Any:
    return neck.get(name, inspect.signature(DSTSNeck).parameters[name].default)


def _changes(text: str) -> dict[str, Any]:
    known = list(inspect.signature(DSTSNeck).parameters)
    changes = {}
    for part in text.split(','):
        key, _, value = part.partition('=')
        key = SHORT.get(key, key)
        if key not in known:
            raise UsageError(f'{text}: DSTSNeck has no argument {key!r}; it has {", ".join(known)}')
        try:
            changes[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[key] = value
    return changes
