import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import Case, Goal, Row, Settings, measure
from benchmarks.flops import count_flops
from benchmarks.measure import ratio
from benchmarks.memory import peak_memory
from benchmarks.report import show_goals, show_rows, write_json

FAST = Settings(repeats=3, block=0.0)


def test_peak_counts_what_is_held_at_once():
    def run():
        first = torch.ones(1 << 20)
        second = first + 1
        del first
        return torch.ones(1 << 18) + second.sum()

    # At most two of 4 MiB at once, although four tensors are made.
    assert 8 << 20 <= peak_memory(run, 'cpu') < 9 << 20


def test_peak_leaves_out_what_was_there():
    held = torch.ones(1 << 20)
    assert peak_memory(lambda: held.sum(), 'cpu') < 1 << 12


def test_flops_are_those_of_pytorchs_counter():
    layers = torch.nn.Sequential(torch.nn.Conv3d(3, 5, 3), torch.nn.BatchNorm3d(5), torch.nn.Conv3d(5, 4, (1, 3, 3)))
    x = torch.ones(2, 3, 5, 7, 7)

    def run():
        layers(x).sum().backward()

    with FlopCounterMode(display=False) as counter:
        run()
    assert count_flops(run) == counter.get_total_flops() > 0


def test_rows_hold_figures_of_each_case():
    a, b = torch.ones(8, 4), torch.ones(4, 2)
    calls = []
    rows = measure(
        'suite',
        [
            Case('product', lambda: calls.append(a @ b), samples=8),
            Case('nothing', lambda: None, note='why', count=False),
        ],
        FAST,
    )
    assert [row.name for row in rows] == ['product', 'nothing']
    product, nothing = rows
    assert product.flops == 2 * 8 * 4 * 2
    assert product.memory >= 8 * 2 * 4
    assert product.rounds == 3
    assert product.rate == pytest.approx(8 / product.median)
    # One warm-up, one that finds the number of runs, three rounds, two that count.
    assert len(calls) == 7
    assert (nothing.memory, nothing.flops, nothing.rate, nothing.note) == (None, None, None, 'why')


def test_ratio_is_by_name():
    rows = [Row('s', 'a', 3.0, 0.0, 1, memory=10), Row('s', 'b', 2.0, 0.0, 1, memory=40)]
    assert ratio(rows, 'a', 'b') == 1.5
    assert ratio(rows, 'a', 'b', 'memory') == 0.25
    with pytest.raises(KeyError):
        ratio(rows, 'a', 'c')


def test_goals_in_both_directions():
    assert Goal('x', 1.3, 1.3).met
    assert not Goal('x', 1.3, 1.31).met
    assert Goal('x', 5, 5, at_most=False).met
    assert not Goal('x', 5, 4.9, at_most=False).met


def test_reports(capsys, tmp_path):
    rows = [Row('s', 'a case', 0.0123, 0.001, 5, memory=3 << 20, flops=2 * 10**9, note='seen')]
    goals = [Goal('a ratio', 2, 2.5), Goal('another', 2, 2.5, at_most=False)]
    show_rows('s', rows, 1.0)
    show_goals(goals)
    out = capsys.readouterr().out
    for text in ('a case', '12.3', 'seen', 'at most 2', '2.50', 'missed', 'at least 2', 'met'):
        assert text in out
    write_json(str(tmp_path / 'out.json'), FAST, rows, goals)
    found = json.loads((tmp_path / 'out.json').read_text())
    assert found['machine']['dtype'] == 'float32'
    assert found['rows'][0]['memory'] == 3 << 20
    assert [goal['met'] for goal in found['goals']] == [False, True]


def test_what_cannot_be_counted_says_so():
    def run():
        if torch.utils._python_dispatch._len_torch_dispatch_stack():
            raise RuntimeError('not under a mode\nmore')

    (row,) = measure('suite', [Case('shy', run)], FAST)
    assert row.flops is None
    assert row.note == ' FLOPs not counted: not under a mode'
