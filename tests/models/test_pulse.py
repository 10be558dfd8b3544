import copy

import pytest
import torch
from torch import nn

from mmdsts.deployment.deployed_layer import DeployedLayer
from mmdsts.models import DSTSLayer
from mmdsts.models.pulse import build_pulse

from .literal import literal_pulse


def test_sum_pulse_is_the_summed_convolution():
    layer = DSTSLayer(6, 5, pulse='sum').double()
    x = torch.randn(4, 6, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    fast = layer.pulse(x, layer.scoring_matrix())
    literal = literal_pulse(x, layer.neurons)
    torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)
    scores = [neuron.score for neuron in layer.neurons]
    weight = torch.randn_like(fast)
    for a, b in zip(
        torch.autograd.grad((fast * weight).sum(), [x, *scores]),
        torch.autograd.grad((literal * weight).sum(), [x, *scores]),
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_mean_pulse_is_the_mean_of_the_convolution():
    layer = DSTSLayer(6, 5, pulse='mean').double()
    x = torch.randn(4, 6, 3, 5, 4, dtype=torch.float64)
    terms = 6 * 3 * 5 * 4
    torch.testing.assert_close(layer.pulse(x, layer.scoring_matrix()), literal_pulse(x, layer.neurons) / terms)


def test_unknown_pulse_names_the_choices():
    with pytest.raises(ValueError, match="'sum', 'mean', 'centered'.*got 'max'"):
        build_pulse(3, 'max')


def test_pulse_does_not_overflow_in_half_precision():
    x = torch.full((2, 4, 8, 56, 56), 60000.0, dtype=torch.float16)
    pulse = build_pulse(3, 'sum')(x, torch.ones(3, 4, dtype=torch.float16))
    assert pulse.dtype == torch.float32
    torch.testing.assert_close(pulse, torch.full((2, 3), float(x[0, 0, 0, 0, 0]) * 4 * 8 * 56 * 56))


def _decisions_of_small_differences(decide, module):
    """Decisions about 256 samples whose pulses differ by a thousandth of what they share."""
    torch.manual_seed(1)
    x = (1 + 0.02 * torch.randn(256, 32, 1, 1, 1)).expand(-1, -1, 2, 3, 3).half()
    expected = decide(module, x.float())
    assert expected.bincount(minlength=4).min() > 10
    halved = copy.deepcopy(module).half()
    return halved, expected, decide(halved, x)


@pytest.mark.parametrize('mode', ['sum', 'mean', 'centered'])
def test_a_layer_in_half_precision_decides_as_in_single(mode):
    torch.manual_seed(0)
    layer = DSTSLayer(32, 4, pulse=mode)
    if mode != 'centered':
        # Kernels that do not see what the samples share.
        with torch.no_grad():
            for neuron in layer.neurons:
                neuron.score -= neuron.score.mean(dim=1, keepdim=True)
    layer.pulse((1 + 0.02 * torch.randn(512, 32, 1, 1, 1)), layer.scoring_matrix())
    halved, expected, found = _decisions_of_small_differences(
        lambda module, x: module.pulse(x, module.scoring_matrix()).argmax(dim=1), layer.eval()
    )
    assert halved.neurons[0].spatial.dtype == halved.neurons[0].gate.dtype == torch.float16
    assert torch.equal(found, expected)
    for name, value in halved.pulse.state_dict().items():
        assert torch.equal(value, layer.pulse.state_dict()[name]), name
    deployed, expected, found = _decisions_of_small_differences(
        lambda module, x: module.router(x), DeployedLayer.from_layer(layer)
    )
    assert deployed.neurons[0].spatial.dtype == torch.float16
    assert torch.equal(found, expected)


@pytest.mark.parametrize('convert', [nn.Module.bfloat16, lambda m: m.to(torch.float16), lambda m: m.half().double()])
def test_what_decides_is_never_narrower_than_single_precision(convert):
    layer = DSTSLayer(4, 2)
    layer.neurons[0].score.grad = torch.ones_like(layer.neurons[0].score)
    layer = convert(layer)
    wide = torch.float64 if layer.fuse.weight.dtype == torch.float64 else torch.float32
    score = layer.neurons[0].score
    assert {score.dtype, score.grad.dtype, layer.pulse.running_var.dtype, layer.pulse.running_mean.dtype} == {wide}


def test_centered_pulse_spreads_samples_that_share_a_mean():
    torch.manual_seed(0)
    layer = DSTSLayer(32, 4, pulse='centered')
    raw = DSTSLayer(32, 4, pulse='sum')
    raw.load_state_dict(layer.state_dict(), strict=False)
    # Post-ReLU features: a large common mean and small differences between samples.
    x = (5 + 0.1 * torch.randn(256, 32, 1, 1, 1)).expand(-1, -1, 2, 3, 3)
    common = raw.pulse(x, raw.scoring_matrix()).argmax(dim=1).bincount(minlength=4) / 256
    spread = layer.pulse(x, layer.scoring_matrix()).argmax(dim=1).bincount(minlength=4) / 256
    assert common.max() > 0.9
    assert spread.max() < 0.5 and spread.min() > 0.1


def test_centered_pulse_tracks_statistics_in_training_only():
    pulse = build_pulse(2, 'centered', momentum=0.5)
    batches = torch.randn(3, 7, 3, 1, 1, 1)
    kernels = torch.randn(2, 3)
    raw = [batch.sum(dim=(2, 3, 4)) @ kernels.t() / 3 for batch in batches]
    pulse(batches[0], kernels)
    torch.testing.assert_close(pulse.running_mean, raw[0].mean(0))
    torch.testing.assert_close(pulse.running_var, raw[0].var(0, unbiased=False))
    pulse(batches[1], kernels)
    both = torch.cat(raw[:2])
    torch.testing.assert_close(pulse.running_mean, both.mean(0))
    torch.testing.assert_close(pulse.running_var, both.var(0, unbiased=False))
    pulse.eval()
    before = {key: value.clone() for key, value in pulse.state_dict().items()}
    out = pulse(batches[2], kernels)
    torch.testing.assert_close(out, 0.5 * (raw[2] - both.mean(0)) / both.var(0, unbiased=False).sqrt())
    assert all(torch.equal(value, before[key]) for key, value in pulse.state_dict().items())


def test_centered_pulse_has_a_learned_scale():
    torch.manual_seed(0)
    pulse, x, kernels = build_pulse(3, 'centered', scale=1.5), torch.randn(50, 4, 1, 1, 1), torch.randn(3, 4)
    out = pulse(x, kernels)
    torch.testing.assert_close(out.std(dim=0, unbiased=False), torch.full((3,), 1.5))
    out.square().mean().backward()
    # d mean((e^3g z)^2) / dg = 6 mean((e^3g z)^2)
    torch.testing.assert_close(pulse.log_scale.grad, 6 * out.detach().square().mean())
    with torch.no_grad():
        pulse.log_scale.fill_(2.0)
    torch.testing.assert_close(pulse.scale, torch.tensor(torch.e**6))
    assert pulse.upstream_parameter_names == ('log_scale',)


@pytest.mark.parametrize('mode, num_neurons', [('sum', 3), ('mean', 3), ('centered', 1)])
def test_no_scale_is_learned_where_kernels_have_one_or_nothing_is_chosen(mode, num_neurons):
    pulse = build_pulse(num_neurons, mode)
    assert not list(pulse.parameters()) and pulse.upstream_parameter_names == ()


@pytest.mark.parametrize('origin', ['an older version', 'a plain dict'])
def test_weights_from_before_the_learned_scale_keep_their_pulses(origin):
    layer, x = DSTSLayer(4, 3).eval(), torch.randn(5, 4, 2, 3, 3)
    old = layer.state_dict()
    del old['pulse.log_scale']
    if origin == 'a plain dict':
        old = dict(old)  # which says no version
    else:
        old._metadata['pulse']['version'] = 1
    other = DSTSLayer(4, 3).eval()
    other.load_state_dict(old)
    torch.testing.assert_close(other.pulse.scale, torch.tensor(1.0))
    torch.testing.assert_close(0.5 * other(x)[1].pulse, layer(x)[1].pulse)


def test_weights_with_a_scale_relative_to_its_start_keep_their_pulses():
    """Version 2 started from 2 and learned the logarithm of what came on top."""
    layer, x = DSTSLayer(4, 3, pulse_scale=2 * torch.e**0.75).eval(), torch.randn(5, 4, 2, 3, 3)
    old = layer.state_dict()
    del old['pulse.log_scale']
    old['pulse.log_gain'] = torch.tensor(0.75)
    old._metadata['pulse']['version'] = 2
    other = DSTSLayer(4, 3).eval()
    other.load_state_dict(old)
    torch.testing.assert_close(other(x)[1].pulse, layer(x)[1].pulse)


def test_weights_of_today_without_their_scale_are_refused():
    state = DSTSLayer(4, 3).state_dict()
    del state['pulse.log_scale']
    with pytest.raises(RuntimeError, match=r'Missing key.*pulse\.log_scale'):
        DSTSLayer(4, 3).load_state_dict(state)
