import pytest
import torch
from mmaction.registry import MODELS
from mmengine.utils import digit_version

from mmdsts.analysis.ablation.variants import NAMES, count_parameters, find_variant, find_variants
from mmdsts.cli import UsageError

NECK = dict(type='DSTSNeck', in_channels=16, num_layers=2, num_neurons=6)


@pytest.mark.parametrize('hidden', [None, 12])
@pytest.mark.parametrize('name', NAMES)
def test_every_variant_is_a_neck_of_the_same_contract(name, hidden):
    variant = find_variant(name, dict(NECK, hidden_channels=hidden))
    assert (variant.name, variant.udl) == (name, False)
    if name == 'backbone':
        assert variant.neck is None
        return
    x = torch.rand(2, 16, 4, 3, 3)
    neck = MODELS.build(variant.neck)
    assert torch.equal(neck(x)[0], x)  # the start as the identity is kept
    assert len(neck.layers) == 2


@pytest.mark.parametrize('hidden', [None, 12])
def test_parameter_twin_has_as_many_trained_values(hidden):
    neck = dict(NECK, hidden_channels=hidden)
    twin = find_variant('parameter_twin', neck).neck
    wider = count_parameters(dict(twin, operator_channels=twin['operator_channels'] + 1))
    # No other width is nearer.
    assert abs(count_parameters(twin) - count_parameters(neck)) <= (wider - count_parameters(twin)) / 2
    assert count_parameters(find_variant('backbone', neck).neck) == 0


@pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.2'), reason='counting FLOPs needs torch >= 2.2')
def test_compute_twin_does_as_much_work_as_half_open_gates():
    from benchmarks.flops import count_flops

    neck = dict(NECK, in_channels=160)  # closed channels of large neurons are left out, in blocks of 16
    dsts = MODELS.build(neck).eval()
    for layer in dsts.layers:
        for neuron in layer.neurons:
            neuron.gate.data = torch.tensor([1.0, -1.0] * 80)
    twin = MODELS.build(find_variant('compute_twin', neck).neck).eval()
    plain = MODELS.build(find_variant('two_operators', neck).neck).eval()
    x = torch.rand(2, 160, 2, 3, 3)
    with torch.no_grad():
        work = [count_flops(lambda neck=neck: neck(x)) for neck in (dsts, twin, plain)]
    assert work[1] == pytest.approx(work[0], rel=0.01)
    assert work[2] == pytest.approx(work[0] * 13 / 7, rel=0.01)


def test_names():
    names = lambda *wanted: [variant.name for variant in find_variants(list(wanted), NECK)]  # noqa: E731
    assert names('main') == ['backbone', 'static', 'parameter_twin', 'compute_twin', 'dsts', 'dsts+udl']
    assert names('dsts', 'main')[:2] == ['dsts', 'backbone']
    assert names('pulses', 'neurons', 'layers') == ['pulse=sum', 'pulse=mean', 'N=2', 'N=3', 'N=12', 'L=1', 'L=3']
    assert set(names('main', 'parts', 'pulses', 'neurons', 'layers')) == set(names('all'))
    changed = find_variant('L=1,gate_std=0.5,pulse=mean+udl', NECK)
    assert changed.neck == dict(NECK, num_layers=1, gate_std=0.5, pulse='mean')
    assert changed.udl
    assert changed.title == 'DSTS, num_layers = 1, gate_std = 0.5, pulse = mean + UDL'
    assert find_variant('no_gates+udl', NECK).neck['type'] == 'UngatedNeck'


@pytest.mark.parametrize(
    'name, message',
    [
        ('dtst', r'^dtst: unknown; expected one of backbone, static'),
        ('M=3', r"DSTSNeck has no argument 'M'; it has in_channels"),
        ('backbone+udl', r'backbone\+udl: it has no pulses and no gates'),
        ('two_operators+udl', r'nothing upstream to train'),
    ],
)
def test_names_that_mean_nothing(name, message):
    with pytest.raises(UsageError, match=message):
        find_variant(name, NECK)
