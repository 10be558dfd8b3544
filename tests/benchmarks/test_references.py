import pytest
import torch

from benchmarks.layers import evaluation, feature, layer, training_step
from benchmarks.measure import Settings
from benchmarks.references import FORMS, ConvPair, ReferenceLayer, literal, winner_only
from mmdsts.models.pulse import build_pulse


def _layer():
    x = feature(6, 8, (2, 4, 4), Settings()).double()
    return layer(8, 3, x.float()).double().train(), x.requires_grad_()


def _gradients(module, x, parameters):
    torch.manual_seed(5)
    out = module(x)[0]
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, torch.autograd.grad((out * weight).sum(), [x, *parameters], allow_unused=True)


@pytest.mark.parametrize(('operators', 'literal_pulse'), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_every_form_is_the_layer(operators, literal_pulse):
    ours, x = _layer()
    parameters = list(ours.parameters())
    reference = ReferenceLayer(ours, operators)
    expected, gradients = _gradients(ours, x, parameters)
    ours.load_state_dict(_layer()[0].state_dict())  # pulse statistics as before the first pass
    out, found = _gradients(reference, x, parameters)
    torch.testing.assert_close(out, expected)
    deciding = {id(p) for p in [*(neuron.score for neuron in ours.neurons), *ours.pulse.parameters()]}
    for parameter, a, b in zip([x, *parameters], found, gradients):
        a, b = (torch.zeros_like(parameter) if g is None else g for g in (a, b))
        # The winner alone does not tell the router what the others would have done.
        if operators is winner_only and (id(parameter) in deciding or parameter is x):
            assert not torch.allclose(a, b)
        else:
            torch.testing.assert_close(a, b)
    assert literal_pulse == (operators is literal)


def test_the_literal_pulse_is_the_sum():
    ours, x = _layer()
    x = 10 * x
    ours.pulse = build_pulse(3, 'sum')
    expected = ours.pulse(x, ours.scoring_matrix())
    seen = []

    def operators(layer, x, choice, gates):
        seen.append(choice)
        return x, x

    out, index = ReferenceLayer(ours, operators, literal_pulse=True)(x)
    # Pulses of this size leave the noise no say.
    assert (expected.sort().values.diff()[:, -1] > 10).all()
    assert torch.equal(index, expected.argmax(dim=1))


def test_steps_run_what_they_say():
    ours, x = _layer()
    pair = ConvPair(8).double()
    step = training_step(pair, x, Settings())
    step()
    first = pair.fuse.weight.grad.clone()
    step()
    # Gradients are those of one step, not a sum.
    torch.testing.assert_close(pair.fuse.weight.grad, first)
    out = evaluation(ours, x, Settings())()[0]
    assert not ours.training
    assert not out.requires_grad
