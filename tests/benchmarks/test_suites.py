import copy
import runpy
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import SUITES, Settings
from benchmarks.recognizers import batch, build, slowonly, tsm, with_dsts, x3d
from benchmarks.suites import data, end2end, layer_testing, layer_training, scaling, udl, windows
from benchmarks.unrolled import UnrolledUDL
from mmdsts.engine import UDLOptimWrapperConstructor

FAST = Settings(repeats=1, block=0.0)
TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'


def _check(result, suite):
    names = [row.name for row in result.rows]
    assert len(set(names)) == len(names)
    for row in result.rows:
        assert row.suite == suite
        assert row.median > 0
    for goal in result.goals:
        assert goal.measured > 0
    return dict(zip(names, result.rows))


def test_layer():
    rows = _check(result := layer_training.run(FAST, layer_training.LayerSizes(8, 5, 4, (2, 5, 5))), 'layer')
    assert len(result.goals) == 3
    static = rows['static layer (N = 1)'].flops
    # The point of it all: the work of one neuron (and the small product that scores all of them).
    assert rows['DSTS layer'].flops < 1.1 * static
    assert rows['literal dense form'].flops > 4 * static
    assert rows['DSTS layer'].memory < rows['literal dense form'].memory


def test_scaling():
    sizes = scaling.ScalingSizes((4, 64), (16,), (2,), ((1, 3, 3),), base=(3, 8, 4, (8, 7, 7)), twins=((4, 2),))
    rows = _check(result := scaling.run(FAST, sizes), 'scaling')
    assert len(rows) == 8
    assert [goal.bound for goal in result.goals] == [1.15, 1.4, 1.7]
    few, many = (rows[f'N = {n:2d}, C =   8, B =  4, T x H x W = 8 x 7 x 7'].flops for n in (4, 64))
    # The scores of 60 more neurons, beside convolutions of 8 x 7 x 7 places.
    assert few < many < 1.1 * few


def test_deploy():
    rows = _check(result := layer_testing.run(FAST, layer_testing.DeploySizes(16, (2, 6), 4, (2, 5, 5))), 'deploy')
    assert len(result.goals) == 3
    assert 0.4 < rows['N =  6, deployed'].flops / rows['static layer (N = 1), evaluation'].flops < 0.65


def test_udl():
    sizes = udl.UDLSizes(
        clips=2, size=32, base_channels=4, hidden_channels=8, num_neurons=2, backbones=('SlowOnly-R18',)
    )
    rows = _check(result := udl.run(FAST, sizes), 'udl')
    assert len(rows) == 6
    assert [goal.bound for goal in result.goals] == [1.6, 4, 1.5, 1]
    plain = rows['SlowOnly-R18: plain step'].flops
    assert plain < rows['SlowOnly-R18: neck, exact'].flops < rows['SlowOnly-R18: full, exact'].flops


def test_the_unrolled_iteration_is_ours():
    config = with_dsts(slowonly(18, 4), hidden_channels=8, num_neurons=2, num_layers=1, zero_init=False)
    config['backbone']['norm_cfg'] = dict(type='BN3d')
    batches = [batch(config, 4, 8, 32, seed) for seed in (0, 1)]
    models = [build(config, 'cpu').double().train() for _ in range(2)]
    for model in models:
        model.data_preprocessor.double()
    before = copy.deepcopy(models[0].state_dict())
    lr = 0.05
    ours = UDLOptimWrapperConstructor(
        dict(
            type='UDLOptimWrapper',
            optimizer=dict(type='SGD', lr=lr, momentum=0.9),
            udl=dict(scope='full', direct_term=False),
        )
    )(models[0])

    # Dropout and gates draw anew in each forward pass: the same draws for both, by a seed at each pass.
    def seed(*_):
        torch.manual_seed(0)

    for model in models:
        model.register_forward_pre_hook(seed)
    torch.manual_seed(0)
    ours.train_step(models[0], *batches)
    UnrolledUDL(models[1], lr).step(*batches, FAST.autocast)
    moved = 0
    for name, value in models[1].state_dict().items():
        torch.testing.assert_close(value, models[0].state_dict()[name], rtol=1e-7, atol=1e-9)
        moved += not torch.equal(value, before[name])
    assert moved > len(before) / 2


def test_end2end():
    sizes = end2end.End2endSizes(8, 32, 32, 2, 8, ('SlowOnly-R18',))
    rows = _check(result := end2end.run(FAST, sizes), 'end2end')
    assert len(rows) == 5
    assert [goal.bound for goal in result.goals] == [1.05, 1.05]
    alone, dsts, deployed = (
        rows[f'SlowOnly-R18, test, 32^2: {kind}'].flops for kind in (end2end.ALONE, end2end.DSTS, end2end.DEPLOYED)
    )
    assert alone < deployed < dsts


@pytest.mark.parametrize('config', [tsm(18), x3d()], ids=['tsm', 'x3d'])
def test_recognizers_train(config):
    config = with_dsts(config, hidden_channels=8, num_neurons=2, num_layers=1)
    model = build(config, 'cpu').train()
    inputs = model.data_preprocessor(batch(config, 2, 8, 32), True)
    assert 'share/l0_n1' in model(**inputs, mode='loss')


def test_data():
    pytest.importorskip('decord')
    rows = _check(data.run(FAST, data.DataSizes(1, 64, (1,), (0,))), 'data')
    assert list(rows) == [
        'decoder alone, 1 threads',
        "pipeline, 1 threads, mode='accurate'",
        "pipeline, 1 threads, mode='efficient'",
        'loader, 0 workers, 1 threads',
    ]
    assert all(row.rate > 0 for row in rows.values())


def test_windows():
    pytest.importorskip('decord')
    pytest.importorskip('av')
    rows = _check(windows.run(FAST, windows.WindowSizes(128, 96, 5, 20)), 'windows')
    assert [name for name in rows if 'ffmpeg' not in name] == [
        'clip cut before: decode',
        'window at the start: decode',
        'window at the middle: decode',
        'window at the end: decode',
        'window in the middle, index kept: decode',
        'the same with decord, index read each time',
        'the same with decord, index kept',
        'clip cut before: training pipeline',
        'window in the middle: training pipeline',
    ]
    assert rows['window at the end: decode'].note.startswith('128 x 96, 20 s, ')


def test_tool(monkeypatch, capsys, tmp_path):
    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *args])
        runpy.run_path(str(TOOL), run_name='__main__')

    small = layer_training.LayerSizes(8, 2, 2, (1, 3, 3))
    monkeypatch.setitem(SUITES, 'layer', lambda settings: layer_training.run(settings, small))
    run('--suite', 'layer', '--device', 'cpu', '--repeats', '1', '--out', str(tmp_path / 'out' / 'figures.json'))
    assert 'literal dense form' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'figures.json').is_file()
    for args in (['--suite', 'speed'], ['--repeats', '0'], ['--out', 'x.txt']):
        with pytest.raises(SystemExit) as stop:
            run('--device', 'cpu', *args)
        assert stop.value.code == 2
