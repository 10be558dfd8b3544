import inspect

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.analysis import get_model_complexity_info
from mmengine.utils import digit_version

import mmdsts  # noqa: F401
from mmdsts.models import DSTSLayer, DSTSNeck


def _neck(**kwargs):
    torch.manual_seed(0)
    # Not the identity, as after training.
    return MODELS.build(dict(type='DSTSNeck', in_channels=6, num_layers=2, num_neurons=3, zero_init=False, **kwargs))


def test_keeps_the_shape_and_adds_the_feature():
    neck = _neck().eval()
    x = torch.randn(2, 6, 3, 4, 4)
    out, loss_aux = neck(x)
    assert out.shape == x.shape and loss_aux == {}
    torch.nn.init.zeros_(neck.layers[-1].fuse.weight)
    torch.nn.init.zeros_(neck.layers[-1].fuse.bias)
    assert torch.equal(neck(x)[0], x)


@pytest.mark.parametrize('hidden_channels', [None, 4])
def test_starts_as_the_identity_but_learns(hidden_channels):
    neck = DSTSNeck(in_channels=6, num_layers=2, num_neurons=3, hidden_channels=hidden_channels)
    x = torch.randn(2, 6, 3, 4, 4)
    out = neck(x)[0]
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert (neck.expand if hidden_channels else neck.layers[-1].fuse).weight.grad.abs().max() > 0


def test_hidden_channels_put_the_layers_between_projections():
    neck = _neck(hidden_channels=4)
    assert neck.reduce.weight.shape == (4, 6, 1, 1, 1) and neck.expand.weight.shape == (6, 4, 1, 1, 1)
    assert neck.layers[0].neurons[0].spatial.shape == (4, 4, 1, 3, 3)
    assert neck(torch.randn(2, 6, 3, 4, 4))[0].shape == (2, 6, 3, 4, 4)


def test_training_logs_what_the_layers_report():
    neck = _neck()
    x = torch.randn(8, 6, 3, 4, 4)
    seen = []
    for layer in neck.layers:
        layer.register_forward_hook(lambda layer, inputs, out: seen.append(layer.report(out[1])))
    _, loss_aux = neck(x)
    for j, report in enumerate(seen):
        assert list(report) == ['share', 'agreement', 'entropy', 'temporal', 'flipped']
        for i, share in enumerate(report.pop('share')):
            assert loss_aux.pop(f'share/l{j}_n{i}') == share
        for name, value in report.items():
            assert loss_aux.pop(f'{name}/l{j}') == value
    assert loss_aux == {}


def test_a_static_neck_logs_nothing_about_routing():
    _, loss_aux = DSTSNeck(in_channels=6, num_layers=2, num_neurons=1)(torch.randn(4, 6, 3, 4, 4))
    assert list(loss_aux) == ['temporal/l0', 'flipped/l0', 'temporal/l1', 'flipped/l1']


def test_logged_figures_are_not_summed_into_the_loss():
    _, loss_aux = _neck(balance_weight=0.1)(torch.randn(4, 6, 3, 4, 4))
    assert [name for name in loss_aux if 'loss' in name] == ['loss_balance']
    assert [name for name, value in loss_aux.items() if value.requires_grad] == ['loss_balance']


def test_balance_loss_pushes_a_collapsed_router_apart():
    neck = _neck(balance_weight=0.5, pulse='mean')
    x = torch.randn(8, 6, 3, 4, 4)
    with torch.no_grad():
        neck.layers[0].neurons[1].score.add_(x.mean().sign() * 0.5)
    neck(x)[1]['loss_balance'].backward()
    assert all(neuron.score.grad.abs().max() > 0 for neuron in neck.layers[0].neurons)
    assert 'loss_balance' not in _neck()(x)[1]


def test_takes_one_of_several_stages():
    neck = _neck(in_index=0).eval()
    x, other = torch.randn(2, 6, 3, 4, 4), torch.randn(2, 9, 6, 4, 4)
    assert torch.equal(neck((x, other))[0], neck(x)[0])
    keeping = _neck(in_index=0, keep_stages=True).eval()
    stages, _ = keeping((x, other))
    assert isinstance(stages, tuple) and torch.equal(stages[0], neck(x)[0]) and stages[1] is other


def test_last_active_is_set_in_evaluation_only():
    neck = _neck()
    neck(torch.randn(4, 6, 3, 4, 4))
    assert neck.last_active is None
    neck.eval()(torch.randn(4, 6, 3, 4, 4))
    assert neck.last_active.shape == (2, 4) and neck.last_active.dtype == torch.long


@pytest.mark.parametrize('training', [True, False])
def test_empty_batch(training):
    out, loss_aux = _neck().train(training)(torch.empty(0, 6, 3, 4, 4))
    assert out.shape == (0, 6, 3, 4, 4) and loss_aux == {}


def test_wrong_input_is_explained():
    neck = _neck()
    with pytest.raises(ValueError, match=r'in_channels=6, but the feature has 7 channels \(shape \(2, 7, 3, 4, 4\)\)'):
        neck(torch.randn(2, 7, 3, 4, 4))
    with pytest.raises(TypeError, match='DSTSRecognizer2D'):
        neck([torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)])


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(num_neurons=0), 'num_neurons must be at least 1, got 0'),
        (dict(hidden_channels=0), 'hidden_channels must be at least 1, got 0'),
        (dict(temperature=0), 'temperature must be positive, got 0'),
        (dict(soft_prob=1.5), 'soft_prob must be a probability, got 1.5'),
        (dict(balance_weight=-1), 'balance_weight must not be negative, got -1'),
        (dict(gate_noise=-1), 'gate_noise must not be negative, got -1'),
        (dict(pulse_scale=0), 'pulse_scale must be positive, got 0'),
        (dict(pulse='max'), 'pulse must be one of'),
    ],
)
def test_wrong_arguments_are_explained(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DSTSNeck(in_channels=6, **kwargs)


@pytest.mark.parametrize(
    'dtype',
    [
        torch.bfloat16,
        pytest.param(
            torch.float16,
            marks=pytest.mark.skipif(
                digit_version(torch.__version__) < digit_version('2.4'), reason='no autocast to float16 on a CPU'
            ),
        ),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_autocast_runs_with_gradients_in_the_precision_of_the_parameters(dtype, training):
    neck = _neck(hidden_channels=4).train(training)
    x = torch.randn(4, 6, 3, 4, 4)
    with torch.autocast('cpu', dtype=dtype):
        out, _ = neck(x.to(dtype))
    out.float().square().mean().backward()
    gradients = [p.grad for p in neck.parameters() if p.grad is not None]
    assert gradients and all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


def test_temperature_reaches_every_layer():
    neck = _neck(temperature=2.0)
    assert [layer.temperature for layer in neck.layers] == [2.0, 2.0]


@pytest.mark.parametrize(
    ('arguments', 'scale', 'flipped'),
    [({}, 0.5, 0.0), (dict(pulse_scale=4.0, gate_noise=1.0), 4.0, 0.46)],
    ids=['by default', 'as asked for'],
)
def test_scale_of_pulses_and_noise_of_gates_reach_every_layer(arguments, scale, flipped):
    """By default a gate at 0.1 goes where the test sends it; under the notes' noise P(0.1 + eps < 0) = 0.46 do not."""
    torch.manual_seed(0)
    neck = DSTSNeck(in_channels=200, num_layers=2, num_neurons=2, **arguments)
    for layer in neck.layers:
        for neuron in layer.neurons:
            torch.nn.init.constant_(neuron.gate, 0.1)
    _, loss_aux = neck(torch.randn(4, 200, 1, 2, 2))
    for j, layer in enumerate(neck.layers):
        assert layer.pulse.scale.item() == pytest.approx(scale)
        assert loss_aux[f'flipped/l{j}'].item() == pytest.approx(flipped, abs=0.1 * (flipped > 0))


def test_a_layer_alone_has_the_defaults_of_the_neck():
    neck, layer = (inspect.signature(kind).parameters for kind in (DSTSNeck, DSTSLayer))
    shared = [name for name in layer if name in neck and layer[name].default is not inspect.Parameter.empty]
    assert {'pulse', 'pulse_scale', 'gate_noise'} <= set(shared)
    assert {name: layer[name].default for name in shared} == {name: neck[name].default for name in shared}


def test_init_cfg_is_applied():
    neck = _neck(init_cfg=dict(type='Constant', layer='Conv3d', val=0.25))
    neck.init_weights()
    assert (neck.layers[0].fuse.weight == 0.25).all()


def test_state_dict_round_trip_keeps_the_output():
    neck, x = _neck(), torch.randn(4, 6, 3, 4, 4)
    neck(x)
    other = DSTSNeck(in_channels=6, num_layers=2, num_neurons=3)
    other.load_state_dict(neck.state_dict())
    assert torch.equal(other.eval()(x)[0], neck.eval()(x)[0])


@pytest.mark.parametrize('hidden_channels', [None, 4])
def test_counters_of_flops_see_one_neuron_of_each_layer(hidden_channels):
    """MMEngine's counter, which MMAction2's ``get_flops.py`` uses, counts a multiplication with an addition as one."""
    flops = {}
    for neurons in (1, 4):
        neck = DSTSNeck(8, num_layers=2, num_neurons=neurons, hidden_channels=hidden_channels, zero_init=False).eval()
        x = torch.rand(1, 8, 3, 5, 5)
        flops[neurons] = get_model_complexity_info(neck, None, inputs=(x,), show_table=False, show_arch=False)['flops']
    width = hidden_channels or 8
    convolutions = (2 * (9 + 3 + 1) * width**2 + (2 * 8 * 4 if hidden_channels else 0)) * 3 * 5 * 5
    # Beside them: norms, and the pulses of four neurons, which no counter takes for much.
    for count in flops.values():
        assert convolutions <= count < 1.2 * convolutions
    assert flops[4] >= flops[1]
