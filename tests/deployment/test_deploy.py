import copy
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

import mmdsts
from mmdsts.deployment import DeployedDSTSNeck, deployed_config, load_deployed, save_deployed
from mmdsts.deployment.check import answer
from mmdsts.models import DSTSNeck
from mmdsts.models.pulse import MeanPulse

from .small_models import CLIPS, CLIPS_SHAPE, FRAMES, FRAMES_SHAPE, build, pixels


def _neck(**kwargs):
    torch.manual_seed(0)
    neck = DSTSNeck(**{**dict(in_channels=12, num_layers=2, num_neurons=4, zero_init=False), **kwargs}).double()
    for module in neck.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine:
            nn.init.normal_(module.weight, 1, 0.5)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.SyncBatchNorm):
            # In training it wants a GPU.
            module.eval()
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    neck(_features(32))
    return neck.eval()


def _features(batch=9):
    torch.manual_seed(2)
    return torch.randn(batch, 12, 3, 5, 5, dtype=torch.float64).relu()


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(hidden_channels=6),
        dict(pulse='sum', num_neurons=2),
        dict(pulse='mean'),
        dict(num_neurons=1),
        dict(shared_base=True),
        dict(norm_cfg=dict(type='SyncBN')),
        dict(norm_cfg=dict(type='BN3d', affine=False)),
        dict(norm_cfg=dict(type='IN3d', track_running_stats=True)),
        dict(norm_cfg=dict(type='IN3d')),
        dict(norm_cfg=dict(type='GN', num_groups=3)),
        dict(act_cfg=dict(type='SiLU')),
    ],
    ids=str,
)
def test_outputs_and_active_neurons_are_those_of_evaluation(kwargs):
    neck, x = _neck(**kwargs), _features()
    deployed = mmdsts.deploy(neck)
    assert isinstance(deployed, DeployedDSTSNeck)
    out, loss_aux = deployed(x)
    torch.testing.assert_close(out, neck(x)[0], rtol=1e-9, atol=1e-9)
    assert torch.equal(deployed.last_active, neck.last_active) and loss_aux == {}
    assert kwargs.get('pulse') or kwargs.get('num_neurons') == 1 or len(neck.last_active.unique()) > 2


def test_single_precision_is_close_enough():
    neck = DSTSNeck(64, hidden_channels=32, zero_init=False)
    torch.manual_seed(0)
    x = torch.randn(16, 64, 4, 7, 7).relu()
    neck(x)
    neck.eval()
    deployed = mmdsts.deploy(neck)
    with torch.no_grad():
        torch.testing.assert_close(deployed(x)[0], neck(x)[0], rtol=0, atol=1e-4)
    assert torch.equal(deployed.last_active, neck.last_active)


def test_each_operator_keeps_only_the_channels_it_reads():
    neck = _neck()
    deployed = mmdsts.deploy(neck)
    for layer, original in zip(deployed.layers, neck.layers):
        assert layer.router.matrix.shape == (4, 12)
        for neuron, source in zip(layer.neurons, original.neurons):
            assert torch.equal(neuron.temporal_index, (source.gate > 0).nonzero().flatten())
            assert neuron.spatial.shape[1] + neuron.temporal.shape[1] == 12
    assert not list(deployed.parameters()) or not any(p.requires_grad for p in deployed.parameters())


def test_gates_all_on_one_side():
    neck = _neck(num_neurons=2)
    with torch.no_grad():
        for layer in neck.layers:
            layer.neurons[0].gate.fill_(1)
            layer.neurons[1].gate.fill_(-1)
    x = _features()
    torch.testing.assert_close(mmdsts.deploy(neck)(x)[0], neck(x)[0], rtol=1e-9, atol=1e-9)
    assert len(neck.last_active.unique()) == 2


def test_stages():
    neck = _neck(in_index=1, keep_stages=True)
    stages = (torch.zeros(9, 3, 1, 1, 1), _features())
    ours, theirs = mmdsts.deploy(neck)(stages)[0], neck(stages)[0]
    assert ours[0] is stages[0]
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-9)


def test_empty_batch():
    assert mmdsts.deploy(_neck())(_features()[:0])[0].shape == (0, 12, 3, 5, 5)


def test_wrong_width_is_named():
    with pytest.raises(ValueError, match=r'\(B, 12, T, H, W\), got \(9, 5, 3, 5, 5\)'):
        mmdsts.deploy(_neck())(_features()[:, :5])


def test_the_original_stays_as_it_is():
    neck, x = _neck(), _features()
    before = copy.deepcopy(neck.state_dict())
    deployed = mmdsts.deploy(neck)
    for tensor in deployed.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(value, before[key]) for key, value in neck.state_dict().items())
    neck.train()(x)


def test_a_model_in_training_is_deployed_for_evaluation():
    neck, x = _neck(), _features()
    expected = neck(x)[0]
    deployed = mmdsts.deploy(nn.Sequential(neck).train())
    assert not deployed.training
    torch.testing.assert_close(deployed(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_what_cannot_be_deployed():
    with pytest.raises(ValueError, match='Linear contains no DSTSNeck'):
        mmdsts.deploy(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='deployed already'):
        mmdsts.deploy(mmdsts.deploy(_neck()))
    with pytest.raises(ValueError, match='BatchNorm3d.*running statistics'):
        mmdsts.deploy(_neck(norm_cfg=dict(type='BN3d', track_running_stats=False)))


def test_training_is_refused():
    with pytest.raises(RuntimeError, match='cannot be trained'):
        nn.Sequential(mmdsts.deploy(_neck())).train()


@pytest.mark.parametrize(('config', 'shape'), [(CLIPS, CLIPS_SHAPE), (FRAMES, FRAMES_SHAPE)], ids=['3d', '2d'])
def test_recognizers_and_their_files(config, shape, tmp_path):
    model, x = build(config, shape), pixels(shape)
    expected = answer(model, x)
    assert len(expected.active.unique()) > 1
    deployed = mmdsts.deploy(model)
    found = answer(deployed, x)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert torch.equal(found.active, expected.active)
    save_deployed(tmp_path / 'deployed.pth', deployed, config)
    with DefaultScope.overwrite_default_scope('mmengine'):  # as in a program that only loads the file
        again = answer(load_deployed(tmp_path / 'deployed.pth'), x)
    assert torch.equal(again.scores, found.scores) and torch.equal(again.active, found.active)


def test_norms_that_are_kept_are_in_the_file(tmp_path):
    config = copy.deepcopy(CLIPS)
    config['neck'].update(norm_cfg=dict(type='GN', num_groups=2), act_cfg=dict(type='SiLU'))
    deployed, x = mmdsts.deploy(build(config, CLIPS_SHAPE)), pixels(CLIPS_SHAPE)
    save_deployed(tmp_path / 'deployed.pth', deployed, config)
    assert torch.equal(answer(load_deployed(tmp_path / 'deployed.pth'), x).scores, answer(deployed, x).scores)


def test_necks_have_files_too(tmp_path):
    config = dict(type='mmdsts.DSTSNeck', in_channels=12, num_layers=2, num_neurons=4)
    deployed, x = mmdsts.deploy(_neck().float()), _features().float()
    save_deployed(tmp_path / 'neck.pth', deployed, config)
    assert torch.equal(load_deployed(tmp_path / 'neck.pth')(x)[0], deployed(x)[0])


def test_configs_that_do_not_fit(tmp_path):
    model = build(CLIPS, CLIPS_SHAPE)
    with pytest.raises(ValueError, match='found 0; make it by'):
        deployed_config(CLIPS, model)
    with pytest.raises(ValueError, match="'neck' is, got type='Recognizer3D', neck=None"):
        deployed_config(dict(CLIPS, neck=None), mmdsts.deploy(model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='holds no deployed model'):
        load_deployed(tmp_path / 'plain.pth')
    torch.save(dict(state_dict={}, meta=Path('/')), tmp_path / 'unsafe.pth')  # what safe loading refuses
    with pytest.raises(ValueError, match='holds no deployed model'):
        load_deployed(tmp_path / 'unsafe.pth')


def test_pulses_that_cannot_be_folded_are_refused():
    neck = _neck()

    class Loudest(MeanPulse):
        def normalise(self, sums, terms):
            return super().normalise(sums, terms).abs()

    neck.layers[1].pulse = Loudest(4, 1.0).eval()
    with pytest.raises(ValueError, match=r'pulse is Loudest\(\).*a method fold.*one of sum, mean, centered'):
        mmdsts.deploy(neck)
