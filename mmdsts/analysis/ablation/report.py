"""What an experiment says: a table with intervals, a verdict or the refusal of one, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Sequence

import numpy as np
from matplotlib.figure import Figure

from .statistics import Comparison, Ranking, compare, rank
from .store import Clips, Run


class Row(NamedTuple):
    """A variant in the table.

    Attributes:
        title: The variant in words.
        runs: Its runs.
        comparison: With the baseline; ``None`` for the baseline itself and where no seed is shared.
        within: The same of the accuracy within sets; ``None`` also without sets.
    """

    title: str
    runs: list[Run]
    comparison: Comparison | None
    within: Comparison | None

    def mean(self, field: str) -> float | None:
        """Mean of a field over the runs; ``None`` where it is not known."""
        values = [getattr(run, field) for run in self.runs]
        return None if any(value is None for value in values) else float(np.mean(values))


class Report(NamedTuple):
    """All variants beside one baseline.

    Attributes:
        baseline: The baseline in words.
        rows: The variants that have runs, in their order.
        ranking: Whether they may be ranked.
        clips: Number of test clips.
    """

    baseline: str
    rows: list[Row]
    ranking: Ranking
    clips: int


def make_report(titles: dict[str, str], results: dict[str, dict[int, tuple[Run, Clips]]], baseline: str) -> Report:
    """Compare all variants with a baseline.

    Args:
        titles: Name of each variant -> the variant in words, in the order of the table.
        results: Name -> seed -> what the run gave; the baseline must have one.
        baseline: Name of the baseline.
    """
    names = [name for name in titles if results.get(name)]
    correct = {name: {seed: clips.correct for seed, (_, clips) in results[name].items()} for name in names}
    comparisons = {c.name: c for c in compare(correct, baseline)}
    within = {}
    if all(clips.within is not None for name in names for _, clips in results[name].values()):
        inside = {name: {seed: clips.within for seed, (_, clips) in results[name].items()} for name in names}
        within = {c.name: c for c in compare(inside, baseline)}
    rows = [
        Row(titles[name], [run for run, _ in results[name].values()], comparisons.get(name), within.get(name))
        for name in names
    ]
    table = np.stack([correct[baseline][seed] for seed in sorted(correct[baseline])])
    return Report(titles[baseline], rows, rank(table, list(comparisons.values())), table.shape[1])


def markdown(report: Report) -> str:
    """The report as Markdown: table, then what may be said."""
    sets = any(row.mean('within_set') is not None for row in report.rows)
    head = ['', 'parameters', 'training, s', 'agreement, %', 'seeds', 'accuracy, %', 'difference, points (95 %)']
    head += ['within sets, %', 'difference, points (95 %)'] * sets
    lines = ['| ' + ' | '.join([*head, 'verdict']) + ' |', '|' + ' --- |' + ' ---: |' * (len(head) - 1) + ' --- |']
    for row in report.rows:
        is_baseline = row.title == report.baseline
        cells = [
            row.title,
            f'{row.runs[0].parameters:,}',
            _figure(row.mean('seconds'), 0),
            _percent(row, 'agreement'),
            str(len(row.runs)),
            _percent(row, 'accuracy'),
            _difference(row.comparison, is_baseline),
        ]
        if sets:
            cells += [_percent(row, 'within_set'), _difference(row.within, is_baseline)]
        verdict = 'baseline' if is_baseline else _verdict(row.comparison, report.ranking)
        lines.append('| ' + ' | '.join([*cells, verdict]) + ' |')
    return '\n'.join([*lines, '', _conclusion(report)]) + '\n'


def draw(report: Report, path: Path) -> Path:
    """Draw the differences to the baseline with their intervals; the ending of ``path`` chooses the format."""
    rows = [row for row in report.rows if row.comparison is not None]
    figure = Figure(figsize=(8, 1.6 + 0.34 * len(rows)), layout='constrained')
    ax = figure.subplots()
    own = report.ranking.baseline
    if own is not None:
        half = 50 * own.width
        ax.axvspan(-half, half, color='0.9', label="spread of the baseline's own seeds (95 %)")
    ax.axvline(0, color='0.4', linewidth=1)
    kinds = (('comparison', 0.0, 'tab:blue', 'o', 'all classes'), ('within', 0.25, 'tab:orange', 's', 'within sets'))
    for field, shift, color, marker, label in kinds:
        places = [(i + shift, getattr(row, field)) for i, row in enumerate(rows) if getattr(row, field) is not None]
        if places:
            ys = [y for y, _ in places]
            middle, low, high = (
                100 * np.array([getattr(c.difference, end) for _, c in places]) for end in ('mean', 'low', 'high')
            )
            ax.errorbar(middle, ys, xerr=[middle - low, high - middle], fmt=marker, color=color, capsize=3, label=label)
    ax.set(yticks=range(len(rows)), xlabel=f'accuracy against: {report.baseline} (points, 95 %, paired)')
    ax.set_yticklabels([row.title for row in rows])
    ax.invert_yaxis()
    ax.grid(axis='x', alpha=0.3)
    figure.legend(loc='outside upper center', ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
    return path


def _figure(value: float | None, digits: int) -> str:
    return '' if value is None or np.isnan(value) else f'{value:,.{digits}f}'


def _percent(row: Row, field: str) -> str:
    value = row.mean(field)
    return '' if value is None else f'{100 * value:.1f}'


def _difference(comparison: Comparison | None, is_baseline: bool) -> str:
    if comparison is None:
        return '' if is_baseline else 'no common seed'
    # 0.0 added: minus nothing is nothing.
    mean, low, high = (round(100 * value, 1) + 0.0 for value in comparison.difference)
    return f'{mean:+.1f} ({low:+.1f} to {high:+.1f})'


def _verdict(comparison: Comparison | None, ranking: Ranking) -> str:
    if comparison is None:
        return ''
    if not ranking.allowed:
        return 'not ranked'
    if comparison.difference.excludes_zero:
        return 'above' if comparison.difference.mean > 0 else 'below'
    enough = _how_many(comparison.more_seeds, comparison.more_clips)
    return f'open: {enough} might decide' if enough else 'open'


def _how_many(seeds: int | None, clips: int | None) -> str:
    """In words; empty where neither would do."""
    return ' or '.join(f'{number:,} {what}' for number, what in ((seeds, 'seeds'), (clips, 'clips')) if number)


def _conclusion(report: Report) -> str:
    ranking, baseline = report.ranking, report.baseline
    covered = 'clips alone' if ranking.baseline is None else 'seeds and clips'
    lines = [
        f'{report.clips:,} test clips. Each variant is paired with the baseline ({baseline}): same start, same '
        f'batches, same clips. Intervals of differences cover {covered}.'
    ]
    if ranking.baseline is None:
        lines.append('**No ranking:** one seed does not say how much the seed decides. Run at least two, better five.')
    elif not ranking.allowed:
        own, enough = ranking.baseline, _how_many(ranking.seeds, ranking.clips)
        lines.append(
            f'**No ranking:** the seeds of the baseline alone spread it by {100 * own.width:.1f} points (95 %), more '
            f'than any difference to it ({100 * ranking.largest:.1f} points at most): luck of the seed may be all '
            'there is. '
            + (f'{enough} would do, if the difference stays.' if enough else 'No number of seeds or clips would do.')
        )
    else:
        lines.append(
            f'The seeds of the baseline alone spread it by {100 * ranking.baseline.width:.1f} points (95 %), '
            'no more than the largest difference: verdicts are given where an interval lies on one side of zero.'
        )
    return '\n'.join(lines)


def write_report(reports: Sequence[Report], title: str, folder: Path) -> list[Path]:
    """Write ``table.md`` with all reports, and a picture for each: ``differences.png``, ``differences_2.png``, ...

    Returns:
        The files.
    """
    pictures = [folder / f'differences{f"_{i + 1}" if i else ""}.png' for i in range(len(reports))]
    parts = [title]
    for report, picture in zip(reports, pictures):
        draw(report, picture)
        parts.append(f'## Against: {report.baseline}\n\n{markdown(report)}\n![differences]({picture.name})\n')
    table = folder / 'table.md'
    table.write_text('\n'.join(parts), encoding='utf-8')
    return [table, *pictures]
