"""All figures about one neck, computed from the record of one pass."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from mmdsts.models import DSTSNeck

from .collect import Record
from .kernels import Reading, read_kernels
from .siblings import Pair, confused_pairs, shares_by_class, sibling_overlap
from .statistics import (
    Interval,
    accuracy_lost,
    entropy,
    information_by_chance,
    mutual_information,
    neurons_in_use,
)


class Subject(NamedTuple):
    """What is known of the clips.

    Attributes:
        class_names: A name for each class.
        class_sets: Set of each class; ``None`` where classes come in none.
        set_names: Names of the sets, where they have some.
        nuisances: By name, numbers from 0 for each clip, shape ``(n,)``; see :func:`nuisances_of`.
    """

    class_names: Sequence[str]
    class_sets: Sequence[int] | None = None
    set_names: dict = {}
    nuisances: dict = {}


class Information(NamedTuple):
    """What the active neuron of a layer tells about something.

    Attributes:
        about: What that is.
        nuisance: Whether it should tell nothing.
        bits: Mutual information.
        chance: The same with neurons dealt out at random to as many clips each.
        entropy: What there is to know, in bits.
    """

    about: str
    nuisance: bool
    bits: float
    chance: Interval
    entropy: float

    @property
    def above_chance(self) -> bool:
        """Whether it is more than 97.5 % of what random routing gives."""
        return self.bits > self.chance.high


class Replacement(NamedTuple):
    """What becomes of clips whose active neuron is replaced.

    Attributes:
        lost: Accuracy lost, see :func:`accuracy_lost`.
        changed: Share of clips that get another class.
    """

    lost: Interval
    changed: float


class LayerStudy(NamedTuple):
    """One layer.

    Attributes:
        use: Share of the clips that each neuron takes, shape ``(N,)``.
        in_use: Effective number of neurons, see :func:`neurons_in_use`.
        information: About classes, sets and nuisances.
        replaced: By rule, of all clips.
        replaced_of: By rule and neuron, of the clips of that neuron; ``None`` for one without clips.
        readings: What each neuron reads.
    """

    use: np.ndarray
    in_use: float
    information: list
    replaced: dict
    replaced_of: dict
    readings: list


class Study(NamedTuple):
    """The whole neck.

    Attributes:
        clips: Number of clips.
        accuracy: Share of them that are right.
        layers: One study a layer.
        replaced: By rule, with the neurons of all layers replaced.
        shares: Share of each class's clips that go through each neuron, shape ``(L, num_classes, N)``.
        pairs: Classes with their most confused siblings.
        confused_overlap: Mean share of neurons that confused siblings have in common, by layer, shape ``(L,)``.
        other_overlap: The same of siblings that are not the most confused ones.
    """

    clips: int
    accuracy: float
    layers: list
    replaced: dict
    shares: np.ndarray
    pairs: list[Pair]
    confused_overlap: np.ndarray
    other_overlap: np.ndarray


def study(record: Record, neck: DSTSNeck, subject: Subject) -> Study:
    """Compute all that is shown.

    Args:
        record: Of :func:`collect`.
        neck: The neck that it was recorded with.
        subject: What is known of the clips.
    """
    right = record.predictions == record.labels
    neurons = record.neurons
    shares = shares_by_class(record.labels, neurons, len(subject.class_names), record.num_neurons)
    pairs = confused_pairs(record.labels, record.predictions, shares, subject.class_sets)
    layers = []
    for number, (chosen, layer) in enumerate(zip(neurons, neck.layers)):
        replaced = {rule: _replacement(record, right, rule, number) for rule in record.replaced}
        replaced_of = {
            rule: [_replacement(record, right, rule, number, chosen == i) for i in range(record.num_neurons)]
            for rule in record.replaced
        }
        layers.append(
            LayerStudy(
                np.bincount(chosen, minlength=record.num_neurons) / len(chosen),
                neurons_in_use(chosen),
                _information(chosen, record.labels, subject),
                replaced,
                replaced_of,
                [read_kernels(neuron, layer.base) for neuron in layer.neurons],
            )
        )
    everywhere = {rule: _replacement(record, right, rule, -1) for rule in record.replaced}
    overlaps = sibling_overlap(pairs, shares, subject.class_sets)
    return Study(len(right), float(right.mean()), layers, everywhere, shares, pairs, *overlaps)


def _information(neurons: np.ndarray, labels: np.ndarray, subject: Subject) -> list[Information]:
    found = [_told(neurons, labels, 'class')]
    if subject.class_sets is not None:
        sets = np.unique(np.asarray(subject.class_sets)[labels], return_inverse=True)[1]
        if sets.max() > 0:
            found = [
                _told(neurons, sets, 'set'),
                _told(neurons, labels, 'class within its set', within=sets),
                *found,
            ]
    return found + [_told(neurons, values, name, nuisance=True) for name, values in subject.nuisances.items()]


def _told(
    neurons: np.ndarray, values: np.ndarray, about: str, within: np.ndarray | None = None, nuisance: bool = False
) -> Information:
    known = entropy(values) - (0 if within is None else entropy(within))
    bits = mutual_information(neurons, values, within)
    return Information(about, nuisance, bits, information_by_chance(neurons, values, within), known)


def _replacement(
    record: Record, right: np.ndarray, rule: str, layer: int, clips: np.ndarray | None = None
) -> Replacement | None:
    clips = np.ones(len(right), dtype=bool) if clips is None else clips
    if not clips.any():
        return None
    predictions = record.replaced[rule][layer][clips]
    lost = accuracy_lost(right[clips], predictions == record.labels[clips])
    return Replacement(lost, float((predictions != record.predictions[clips]).mean()))


__all__ = ['Information', 'LayerStudy', 'Reading', 'Replacement', 'Study', 'Subject', 'study']
