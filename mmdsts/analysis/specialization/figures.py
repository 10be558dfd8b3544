"""Figures of a study, narrow enough to be read on a phone; colours that the colour-blind tell apart."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter

from .kernels import PATTERNS, SPATIAL_BY_CHANCE, TEMPORAL_BY_CHANCE
from .study import LayerStudy, Study, Subject

# Of Okabe and Ito's palette; maps are of one hue, from white to dark.
BLUE, ORANGE, GREEN, GREY = '#0072B2', '#D55E00', '#009E73', '#8C8C8C'
MAP = 'Blues'

RULES = {'runner_up': ('runner-up', BLUE, 'o'), 'random': ('random other', ORANGE, 's')}

_WIDTH = 5.0  # inches


def shorten(name: str, length: int) -> str:
    """A name of at most ``length`` characters; its middle goes, for siblings differ at the end."""
    if len(name) <= length:
        return name
    end = (length - 1) * 2 // 5
    return f'{name[: length - 1 - end].rstrip()}…{name[len(name) - end :].lstrip()}'


def in_order_of_sets(class_sets: Sequence[int] | None, num_classes: int) -> list[list[int]]:
    """Classes, set after set; one group if there are no sets."""
    if class_sets is None:
        return [list(range(num_classes))]
    return [[label for label in range(num_classes) if class_sets[label] == key] for key in sorted(set(class_sets))]


def draw_classes(found: Study, layer: int, subject: Subject) -> Figure:
    """Draw the share of each class's clips that go through each neuron, classes ordered by set."""
    groups = in_order_of_sets(subject.class_sets, found.shares.shape[1])
    present = found.shares[layer].sum(axis=1) > 0
    groups = [[label for label in group if present[label]] for group in groups]
    groups = [group for group in groups if group]
    order = [label for group in groups for label in group]
    neurons = found.shares.shape[2]
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.17 * len(order)), layout='constrained')
    ax = figure.subplots()
    room = max(28, 56 - 2 * neurons)
    image = ax.imshow(found.shares[layer][order], vmin=0, vmax=1, cmap=MAP, aspect='auto', interpolation='nearest')
    ax.set_xticks(range(neurons), [f'{i}\n{100 * use:.0f}' for i, use in enumerate(found.layers[layer].use)])
    ax.set_yticks(range(len(order)), [f'{shorten(subject.class_names[label], room)}  {label}' for label in order])
    ax.tick_params(labelsize=8, length=0)
    ax.set_xlabel('neuron, and the % of all clips that it takes', fontsize=8)
    ax.set_xticks(np.arange(neurons - 1) + 0.5, minor=True)
    ax.grid(which='minor', axis='x', color='#D5DBE1', linewidth=0.8)
    ax.tick_params(which='minor', length=0)
    ax.spines[:].set_visible(False)
    start = 0
    for group in groups if len(groups) > 1 else ():
        ax.axhline(start - 0.5, color='#444444', linewidth=0.8, clip_on=False)
        key = subject.class_sets[group[0]]
        # As long as there is room beside the rows of the set.
        name = shorten(str(subject.set_names.get(key, f'set {key}')), max(3, int(2.3 * len(group))))
        ax.text(neurons - 0.4, start + (len(group) - 1) / 2, name, rotation=270, va='center', ha='left', fontsize=8)
        start += len(group)
    height = 0.17 * len(order)  # inches; pads are fractions of it
    bar = figure.colorbar(
        image,
        ax=ax,
        location='top',
        shrink=0.7,
        aspect=30,
        pad=0.05 / height,
        fraction=min(0.15, 0.3 / height),
        ticks=(0, 0.5, 1),
        format=PercentFormatter(1, 0),
    )
    bar.set_label("share of the class's clips", fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
    return figure


def draw_information(layer: LayerStudy) -> Figure:
    """Draw what the active neuron tells about class, set and nuisances, beside what random routing would tell."""
    rows = layer.information
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.24 * len(rows)), layout='constrained')
    ax = figure.subplots()
    for y, row in enumerate(rows):
        scale = 100 / row.entropy if row.entropy else 0
        low, high = row.chance.low * scale, row.chance.high * scale
        ax.barh(y, max(high - low, 0.6), left=low, height=0.62, color=GREY, alpha=0.55, linewidth=0)
        colour, marker = (ORANGE, 'D') if row.nuisance else (BLUE, 'o')
        ax.plot(row.bits * scale, y, marker, color=colour, markersize=6, clip_on=False)
        ax.text(103, y, f'{row.bits:.2f} of {row.entropy:.2f}', va='center', fontsize=8, clip_on=False)
    ax.set_yticks(range(len(rows)), [row.about for row in rows], fontsize=8.5)
    ax.set_xlim(0, 100)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel('% of what there is to know; bits beside', fontsize=8)
    _plain(ax)
    marks = [
        Line2D([], [], marker='o', color=BLUE, linestyle='', label='class'),
        Line2D([], [], marker='D', color=ORANGE, linestyle='', label='nuisance'),
        Patch(color=GREY, alpha=0.55, label='random routing, 95 %'),
    ]
    figure.legend(handles=marks, loc='outside upper center', ncols=3, fontsize=8, frameon=False, handletextpad=0.3)
    return figure


def draw_replaced(found: Study) -> Figure:
    """Draw the accuracy lost where the active neurons of a layer, or of all, are replaced."""
    rows = [(f'layer {j}', layer.replaced) for j, layer in enumerate(found.layers)]
    if len(rows) > 1:
        rows.append(('all layers', found.replaced))
    return _losses(rows)


def draw_replaced_by_neuron(layer: LayerStudy) -> Figure:
    """Draw the same for the clips of each neuron."""
    rows = [
        (f'neuron {i}  ({_percent(use)})', {rule: found[i] for rule, found in layer.replaced_of.items()})
        for i, use in enumerate(layer.use)
    ]
    return _losses(rows)


def draw_readings(layer: LayerStudy) -> Figure:
    """Draw what each neuron reads: channels by operator, places, frames and patterns over time."""
    readings = layer.readings
    count = len(readings)
    figure = Figure(figsize=(_WIDTH, 1.15 + 0.42 * count), layout='constrained')
    channels, places, frames, patterns = figure.subplots(1, 4, width_ratios=(3, 1.6, 1.6, 3))
    temporal = np.array([reading.temporal_channels for reading in readings])
    rows = np.arange(count)
    channels.barh(rows, 1 - temporal, color=BLUE, height=0.6)
    channels.barh(rows, temporal, left=1 - temporal, color=ORANGE, height=0.6)
    for y, share in zip(rows, temporal):
        channels.text(0.03, y, _percent(1 - share), color='white', va='center', fontsize=8)
        channels.text(0.97, y, _percent(share), color='white', va='center', ha='right', fontsize=8)
    # Alike at every place is half way to dark.
    _tiles(places, [reading.spatial for reading in readings], 2 * SPATIAL_BY_CHANCE)
    _tiles(frames, [reading.temporal[None] for reading in readings], 2 * TEMPORAL_BY_CHANCE)
    left = np.zeros(count)
    for name, colour in zip(PATTERNS, ('#56B4E9', ORANGE, GREEN)):
        share = np.array([reading.patterns[name] for reading in readings])
        patterns.barh(rows, share, left=left, color=colour, height=0.6, label=name)
        left += share
    for boundary in (TEMPORAL_BY_CHANCE, 2 * TEMPORAL_BY_CHANCE):
        patterns.axvline(boundary, color='black', linewidth=0.8, linestyle=(0, (2, 2)))
    titles = ('channels:\nspace | time', '3 x 3\nplaces', '3\nframes', 'over time:\nsteady | direction | pulse')
    for ax, title in zip((channels, places, frames, patterns), titles):
        ax.set_title(title, fontsize=8)
        ax.set_ylim(count - 0.4, -0.6)
        ax.set_yticks(rows, [str(i) for i in rows] if ax is channels else [])
        ax.set_xticks([])
        ax.tick_params(length=0, labelsize=8.5)
        ax.spines[:].set_visible(False)
    channels.set_xlim(0, 1)
    patterns.set_xlim(0, 1)
    channels.set_ylabel('neuron', fontsize=8)
    return figure


def _losses(rows: list) -> Figure:
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.4 * len(rows)), layout='constrained')
    ax = figure.subplots()
    for y, (_, by_rule) in enumerate(rows):
        for offset, (rule, (_, colour, marker)) in zip((-0.16, 0.16), RULES.items()):
            if by_rule[rule] is not None:
                lost = by_rule[rule].lost
                ax.plot([100 * lost.low, 100 * lost.high], [y + offset] * 2, color=colour, linewidth=2)
                ax.plot(100 * lost.mean, y + offset, marker, color=colour, markersize=6)
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color='#F3F3F3', zorder=0, linewidth=0)
    ax.axvline(0, color='#444444', linewidth=1)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel('points of accuracy lost (lines: 95 % over clips)', fontsize=8)
    _plain(ax)
    marks = [Line2D([], [], marker=marker, color=colour, label=name) for name, colour, marker in RULES.values()]
    figure.legend(handles=marks, loc='outside upper center', ncols=2, fontsize=8, frameon=False)
    return figure


def _tiles(ax, pictures: list, highest: float) -> None:
    """Small maps, one a row."""
    for y, picture in enumerate(pictures):
        height = 0.4 * picture.shape[0] / 3
        ax.imshow(picture, extent=(-0.4, 0.4, y + height, y - height), vmin=0, vmax=highest, cmap=MAP, aspect='auto')
        ax.add_patch(Rectangle((-0.4, y - height), 0.8, 2 * height, fill=False, edgecolor='#777777', linewidth=0.6))
    ax.set_xlim(-0.5, 0.5)


def _plain(ax) -> None:
    ax.tick_params(labelsize=8.5, length=0)
    ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.grid(axis='x', color='#DDDDDD', linewidth=0.7)
    ax.set_axisbelow(True)


def _percent(share: float) -> str:
    return f'{100 * share:.0f}%'
