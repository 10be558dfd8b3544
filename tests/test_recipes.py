"""The recipes of CONTRIBUTING.md, followed: each code block there is what runs here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.optim import build_optim_wrapper
from mmengine.registry import LOG_PROCESSORS

import mmdsts
from mmdsts.engine import split_parameters
from mmdsts.models import DSTSNeck
from mmdsts.models.pulse import PULSES
from mmdsts.models.routing import largest_pulse

from .engine.toy_recognizer import WIDTH, make_batch, recognizer_config

TEXT = (Path(__file__).resolve().parents[1] / 'CONTRIBUTING.md').read_text(encoding='utf-8')
RECIPES = dict(re.findall(r'^### (.+?)\n.*?^```python\n(.*?)^```$', TEXT, flags=re.DOTALL | re.MULTILINE))


@pytest.fixture
def follow(monkeypatch):
    """Run the code of a recipe; what it registers is gone after the test. Returns its names."""
    for registry in (PULSES, MODELS, DATASETS):
        monkeypatch.setattr(registry, '_module_dict', dict(registry.module_dict))

    def run(title):
        names = {'__name__': 'recipe'}
        exec(compile(RECIPES[title], f'CONTRIBUTING.md, {title}', 'exec'), names)
        return names

    return run


def test_each_recipe_is_followed_here():
    followed = re.findall(r"follow\('(.+?)'\)", Path(__file__).read_text(encoding='utf-8'))
    assert sorted(RECIPES) == sorted(set(followed))
    assert len(RECIPES) == 5


def test_a_pulse_is_trained_and_deployed(follow):
    follow('A kind of pulse')
    torch.manual_seed(0)
    neck = DSTSNeck(6, num_layers=2, num_neurons=4, pulse='unit', zero_init=False).double()
    x = torch.randn(16, 6, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    neck(x)[0].sum().backward()
    assert all(neuron.score.grad.abs().sum() > 0 for neuron in neck.layers[0].neurons)
    layer = neck.eval().layers[0]
    torch.testing.assert_close(layer(x)[1].pulse.norm(dim=1), torch.ones(16, dtype=torch.float64))
    deployed = mmdsts.deploy(neck)
    torch.testing.assert_close(deployed(x)[0], neck(x)[0])
    assert torch.equal(deployed.last_active, neck.last_active)
    assert len(neck.last_active.unique()) > 1


def test_a_quantity_is_logged_as_the_mean_over_the_window(follow):
    follow('A logged quantity')
    neck = MODELS.build(dict(type='MarginNeck', in_channels=6, num_layers=2, num_neurons=3)).train()
    logged = neck(torch.randn(8, 6, 2, 3, 3))[1]
    assert {'margin/l0', 'margin/l1', 'agreement/l1', 'share/l0_n2'} < logged.keys()
    assert logged['margin/l0'] > 0
    processor = LOG_PROCESSORS.build(dict(type='LayerLogProcessor', window_size=4))
    assert processor.mean_pattern.match('train/margin/l0')
    assert processor.mean_pattern.match('train/loss_cls')
    assert not processor.mean_pattern.match('train/lr')


def test_a_data_set_reads_its_list(follow, tmp_path):
    follow('A data set')
    (tmp_path / 'list.csv').write_text('one,0\ntwo,1\none,0\ngone,1\n')
    for name in ('one', 'two'):
        (tmp_path / f'{name}.mp4').write_bytes(b'video')
    dataset = DATASETS.build(
        dict(type='CsvDataset', ann_file=str(tmp_path / 'list.csv'), pipeline=[], data_prefix=dict(video=str(tmp_path)))
    )
    assert [
        (Path(info['filename']).name, info['label']) for info in map(dataset.get_data_info, range(len(dataset)))
    ] == [('one.mp4', 0), ('two.mp4', 1)]
    assert dataset.get_cat_ids(1) == [1]


def test_an_upstream_module_is_moved_by_the_meta_step_alone(follow):
    follow('An upstream module')
    model = MODELS.build(dict(recognizer_config(), neck=dict(type='ChannelWeightNeck', in_channels=WIDTH))).train()
    assert list(split_parameters(model)[0]) == ['neck.weight']
    for upstream_lr, moves in ((0.0, False), (1.0, True)):
        before = model.neck.weight.detach().clone(), model.cls_head.fc_cls.weight.detach().clone()
        wrapper = build_optim_wrapper(
            model,
            dict(
                type='UDLOptimWrapper',
                constructor='UDLOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.1),
                udl=dict(inner_lr=0.1, upstream_lr=upstream_lr),
            ),
        )
        wrapper.train_step(model, make_batch(seed=1, dtype=torch.float32), make_batch(seed=2, dtype=torch.float32))
        assert torch.equal(model.neck.weight, before[0]) is not moves
        assert not torch.equal(model.cls_head.fc_cls.weight, before[1])


def test_a_routing_rule_is_trained_and_deployed(follow):
    follow('A routing rule')
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='GreedyNeck', in_channels=6, num_layers=1, num_neurons=4, zero_init=False)).double()
    x = torch.randn(16, 6, 2, 3, 3, dtype=torch.float64)
    out, logged = neck.train()(x)
    assert logged['agreement/l0'] == 1
    out.square().sum().backward()
    assert all(neuron.score.grad.abs().sum() > 0 for neuron in neck.layers[0].neurons)
    deployed = mmdsts.deploy(neck.eval())
    torch.testing.assert_close(deployed(x)[0], neck(x)[0])
    assert torch.equal(deployed.last_active[0], largest_pulse(neck.layers[0](x)[1].pulse))
