"""``torch.compile`` of the neck: the same numbers. Grouping samples by neuron breaks the graph: it depends on data."""

import pytest
import torch

from mmdsts.models import DSTSNeck


@pytest.mark.parametrize('training', [True, False])
def test_compiled_neck_equals_eager(training):
    torch.manual_seed(0)
    neck = DSTSNeck(in_channels=8, num_layers=2, num_neurons=4, zero_init=False).train(training)
    x = torch.randn(3, 8, 2, 4, 4)
    # No code is generated, but everything is traced.
    compiled = torch.compile(neck, backend='aot_eager')
    results = []
    for function in (neck, compiled):
        torch.manual_seed(1)
        out = function(x)[0]
        neck.zero_grad()
        out.square().sum().backward()
        results.append((out, {name: None if p.grad is None else p.grad.clone() for name, p in neck.named_parameters()}))
    (out, grads), (compiled_out, compiled_grads) = results
    torch.testing.assert_close(compiled_out, out)
    # Neurons that rest have no gradient in both.
    assert any(grad is None for grad in grads.values())
    for name, grad in grads.items():
        assert (grad is None) == (compiled_grads[name] is None), name
        if grad is not None:
            torch.testing.assert_close(compiled_grads[name], grad)
