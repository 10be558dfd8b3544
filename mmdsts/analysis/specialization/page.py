"""A study as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader

from .figures import shorten
from .study import Study, Subject
from .words import bounds, layer_facts, overlap_words, points, verdict


class Strip(NamedTuple):
    """A film strip with what is said of it."""

    jpeg: bytes
    label: int
    prediction: int
    lead: float


def render_page(
    title: str, notes: list[str], study: Study, subject: Subject, figures: dict, strips: list[list[list[Strip]]]
) -> str:
    """Write the page.

    Args:
        title: What was studied.
        notes: Lines about where it comes from.
        study: All figures.
        subject: Names of classes.
        figures: Content of the PNG files by name: ``replaced`` and, for each layer ``j``, ``classes_l{j}``,
            ``information_l{j}``, ``readings_l{j}`` and ``replaced_l{j}``.
        strips: By layer and neuron.
    """
    loader = PackageLoader('mmdsts.analysis.specialization', '.')
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(png=_png, jpeg=_jpeg, percent=_percent, shorten=shorten)
    return environment.get_template('page.html.j2').render(
        title=title,
        notes=notes,
        study=study,
        names=subject.class_names,
        sets=subject.class_sets is not None,
        figures=figures,
        strips=strips,
        facts=[layer_facts(layer) for layer in study.layers],
        verdicts=[verdict(layer) for layer in study.layers],
        overlap=overlap_words(study),
        points=points,
        bounds=bounds,
        confused=[pair for pair in study.pairs if pair.sibling is not None],
        alone=[pair for pair in study.pairs if pair.sibling is None],
        mostly=_most_frequent(study),
        idle=[np.flatnonzero(layer.use == 0).tolist() for layer in study.layers],
    )


def _most_frequent(study: Study) -> list[list[list[int]]]:
    """By layer and neuron, the classes of which it takes most, at least a tenth of the class, three at most."""

    def of_neuron(column: np.ndarray) -> list[int]:
        return [int(k) for k in np.argsort(-column, kind='stable')[:3] if column[k] >= 0.1]

    return [[of_neuron(column) for column in layer.T] for layer in study.shares]


def _png(content: bytes) -> str:
    return 'data:image/png;base64,' + base64.b64encode(content).decode()


def _jpeg(content: bytes) -> str:
    return 'data:image/jpeg;base64,' + base64.b64encode(content).decode()


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %'
