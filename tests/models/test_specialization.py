"""METHOD 1.5: a neuron that no sample activated does not change, whatever the optimizer."""
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.optim import OptimWrapper

import mmdsts  # noqa: F401

OPTIMIZERS = {
    'sgd': lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    'adamw': lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.1),
    'rmsprop': lambda params: torch.optim.RMSprop(params, lr=0.1, momentum=0.9, weight_decay=0.1),
}


def _operators(neck):
    return {(j, i): torch.cat([neuron.spatial.flatten(), neuron.temporal.flatten(), neuron.gate]).detach().clone()
            for j, layer in enumerate(neck.layers) for i, neuron in enumerate(layer.neurons)}


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('accumulate', [1, 2])
def test_idle_neurons_are_bit_identical_after_a_step(name, accumulate):
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='DSTSNeck', in_channels=6, num_layers=2, num_neurons=4))
    wrapper = OptimWrapper(OPTIMIZERS[name](neck.parameters()), accumulative_counts=accumulate)
    idle_seen = moved_seen = 0
    for _ in range(12):
        before = _operators(neck)
        used = set()
        for _ in range(accumulate):
            out, loss_aux = neck(torch.randn(2, 6, 3, 4, 4))
            used |= {(int(key[7]), int(key[-1])) for key, share in loss_aux.items() if share > 0}
            wrapper.update_params(out.square().mean())
        for key, value in _operators(neck).items():
            if key in used:
                moved_seen += not torch.equal(value, before[key])
            else:
                assert torch.equal(value, before[key]), key
                # The optimizer has momentum for it by now: nothing of it may leak.
                idle_seen += 1
    assert idle_seen > 20 and moved_seen > 20
