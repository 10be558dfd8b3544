"""A page on what came of attaching DSTS to the configs of a zoo, by family, the counts at its head."""

from __future__ import annotations

from itertools import groupby
from typing import Iterable, NamedTuple


class Row(NamedTuple):
    """What came of one config.

    Attributes:
        config: Its path in the zoo, without the ending.
        found: What the dry run saw; empty where it was refused.
        result: ``'same scores; ...'`` where it works, ``'no: REASON'`` where it is refused.
    """

    config: str
    found: str
    result: str

    @property
    def family(self) -> str:
        """The folders of the zoo that hold it, as ``'recognition/tsm'``."""
        return '/'.join(self.config.split('/')[:2])

    @property
    def works(self) -> bool:
        """Whether it trains and tests, and starts with the scores of the original."""
        return self.result.startswith('same scores')

    @property
    def refused(self) -> bool:
        """Whether it was refused, with the reason."""
        return self.result.startswith('no: ')


def page(rows: Iterable[Row], head: str) -> str:
    """Markdown: a table of families, then each family with its configs.

    Args:
        rows: In any order.
        head: What stands between title and counts.
    """
    rows = sorted(rows)
    families = [(name, list(members)) for name, members in groupby(rows, key=lambda row: row.family)]
    works, refused = sum(row.works for row in rows), sum(row.refused for row in rows)
    lines = [
        "# Configs of MMAction2's zoo, attached",
        '',
        head,
        '',
        f'**{len(rows)} configs: {works} work, {refused} are refused with the reason, {len(rows) - works - refused} '
        'otherwise.**',
        '',
        '| family | configs | work | refused | otherwise |',
        '| --- | ---: | ---: | ---: | ---: |',
    ]
    for name, members in families:
        works, refused = sum(row.works for row in members), sum(row.refused for row in members)
        lines.append(f'| {name} | {len(members)} | {works} | {refused} | {len(members) - works - refused} |')
    for name, members in families:
        lines += ['', f'## {name}', '', *_family(members)]
    return '\n'.join(lines) + '\n'


def _family(members: list[Row]) -> list[str]:
    """What ran as a table, and behind it each reason once, with the configs that it holds for."""
    tried = [row for row in members if not row.refused]
    lines = []
    if tried:
        lines += ['| config | found | result |', '| --- | --- | --- |']
        lines += [f'| {_name(row)} | {row.found} | {row.result} |' for row in tried]
    reasons: dict[str, list[Row]] = {}
    for row in members:
        if row.refused:
            reasons.setdefault(row.result[len('no: ') :], []).append(row)
    for reason, rows in reasons.items():
        lines += [''] * bool(lines) + [f'Refused: {reason}', '', *(f'- {_name(row)}' for row in rows)]
    return lines


def _name(row: Row) -> str:
    """The config without its family."""
    return row.config[len(row.family) + 1 :]
