"""A study in a few words."""

from __future__ import annotations

import numpy as np

from .study import Information, LayerStudy, Replacement, Study


def layer_facts(layer: LayerStudy) -> list[tuple[str, str, str]]:
    """What one should know of a layer at a glance: figure, what it is, and what it is to be compared with."""
    facts = [(f'{layer.in_use:.1f} of {len(layer.use)}', 'neurons in use', 'effective number, from the entropy')]
    for row in layer.information:
        if not row.nuisance and row.entropy:
            facts.append((_share(row), f'of the {row.about} is told by the choice', _by_chance(row)))
    nuisances = [row for row in layer.information if row.nuisance]
    if nuisances:
        worst = max(nuisances, key=_excess)
        beside = _by_chance(worst) + (f'; the largest of {len(nuisances)}' if len(nuisances) > 1 else '')
        facts.append((_share(worst), f'of the nuisance it tells most of: {worst.about}', beside))
    for rule, name in (('runner_up', 'the runner-up'), ('random', 'a random other neuron')):
        facts.append((points(layer.replaced[rule]), f'lost with {name} instead', bounds(layer.replaced[rule])))
    return facts


def verdict(layer: LayerStudy) -> str:
    """Whether the neurons of a layer are special, in one sentence."""
    lost = layer.replaced['random'].lost
    if not any(row.entropy for row in layer.information if not row.nuisance):
        return 'The clips are of one class: they do not show what the choice follows.'
    told = [row.about for row in layer.information if not row.nuisance and row.above_chance]
    follows = 'set and the class within it' if told[:2] == ['set', 'class within its set'] else (told or [''])[0]
    if layer.use.max() > 0.95:
        return 'Collapsed: one neuron takes nearly all clips.'
    if not told:
        return 'The choice of neuron says nothing about the classes beyond chance.'
    if lost.low > 0:
        return f'The choice follows the {follows}, and the neurons are special: others do worse.'
    if lost.high < 0:
        return f'The choice follows the {follows}, but other neurons would do better.'
    return f'The choice follows the {follows}, but nothing shows that other neurons would do worse.'


def overlap_words(study: Study) -> str:
    """Whether confused siblings go through the same neurons."""
    if np.isnan(study.confused_overlap).any():
        return 'No class is confused with a sibling that has clips.'
    parts = []
    for layer, (confused, other) in enumerate(zip(study.confused_overlap, study.other_overlap)):
        beside = '' if np.isnan(other) else f' (other siblings {100 * other:.0f} %)'
        parts.append(f'{100 * confused:.0f} % in layer {layer}{beside}')
    return f'A class and its most confused sibling share, on average, {", ".join(parts)} of their neurons.'


def points(replaced: Replacement) -> str:
    """Accuracy lost, in points."""
    return f'{_signed(replaced.lost.mean)} points'


def bounds(replaced: Replacement) -> str:
    """Its interval, and how many clips get another class."""
    lost = replaced.lost
    return f'95 %: {_signed(lost.low)} to {_signed(lost.high)}; {100 * replaced.changed:.0f} % of the answers change'


def _signed(share: float) -> str:
    return f'{100 * share + 0.0:.1f}'.replace('-', '−')


def _share(row: Information) -> str:
    return f'{100 * row.bits / row.entropy:.1f} %' if row.entropy else '0 %'


def _excess(row: Information) -> float:
    return (row.bits - row.chance.mean) / row.entropy if row.entropy else 0.0


def _by_chance(row: Information) -> str:
    low, high = (100 * bound / row.entropy if row.entropy else 0 for bound in (row.chance.low, row.chance.high))
    return f'by chance {low:.1f} to {high:.1f} %'
