import pytest
import torch

from mmdsts.analysis.specialization.kernels import read_kernels
from mmdsts.models import SpecializedNeuron
from mmdsts.models.shared_base import SharedBase


@pytest.fixture
def neuron():
    """Channels 0 to 2 go to the spatial operator, 3 to the temporal one; no weight set."""
    neuron = SpecializedNeuron(4)
    with torch.no_grad():
        neuron.spatial.zero_()
        neuron.temporal.zero_()
        neuron.gate.copy_(torch.tensor([-1.0, -0.1, -3.0, 0.2]))
    return neuron


def test_places_and_frames_of_the_channels_that_are_read(neuron):
    with torch.no_grad():
        neuron.spatial[2, 0, 0, 0, 1] = 1
        neuron.spatial[1, 2, 0, 2, 2] = -2
        neuron.spatial[0, 3] = 50  # a closed channel
        neuron.temporal[0, 3, 2] = 3
        neuron.temporal[0, 1] = 50
    reading = read_kernels(neuron)
    assert reading.temporal_channels == 0.25
    assert reading.spatial.tolist() == [[0, 0.2, 0], [0, 0, 0], [0, 0, 0.8]]
    assert reading.temporal.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ('taps', 'pattern'),
    [((2, 2, 2), 'steady'), ((-1, 0, 1), 'direction'), ((3, 0, -3), 'direction'), ((-1, 2, -1), 'pulse')],
)
def test_patterns_over_time(neuron, taps, pattern):
    with torch.no_grad():
        neuron.temporal[1, 3, :, 0, 0] = torch.tensor(taps).float()
    found = read_kernels(neuron).patterns
    assert found.pop(pattern) == pytest.approx(1)
    assert list(found.values()) == pytest.approx([0, 0], abs=1e-12)


def test_random_weights_have_no_preference():
    torch.manual_seed(0)
    reading = read_kernels(SpecializedNeuron(200))
    assert list(reading.patterns.values()) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert reading.spatial == pytest.approx(1 / 9, abs=0.01)


def test_an_operator_without_channels_reads_nothing(neuron):
    with torch.no_grad():
        neuron.gate.fill_(-1)
        neuron.spatial.fill_(1)
    reading = read_kernels(neuron)
    assert reading.temporal.tolist() == [0, 0, 0]
    assert set(reading.patterns.values()) == {0}


def test_a_neuron_reads_with_the_base_of_its_layer(neuron):
    base = SharedBase(neuron.spatial, neuron.temporal, num_neurons=4)
    with torch.no_grad():
        base.spatial[0, 0, 0, 0, 0] = 1
        neuron.spatial[0, 0, 0, 2, 2] = 4
    assert read_kernels(neuron, base).spatial[[0, 2], [0, 2]].tolist() == pytest.approx([0.5, 0.5])
