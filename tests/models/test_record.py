import copy

import torch
from mmaction.structures import ActionDataSample
from torch import nn

import mmdsts
from mmdsts.deployment.check import answer
from mmdsts.models import DSTSNeck
from mmdsts.models.record import last_active_neurons

from ..deployment.small_models import CLIPS, CLIPS_SHAPE, build, pixels


def test_layers_of_all_necks_that_have_seen_a_batch():
    necks = [DSTSNeck(in_channels=2, num_layers=layers, num_neurons=3) for layers in (2, 1, 1)]
    necks[0].last_active = torch.tensor([[0, 2], [1, 1]])
    # The second neck sees two views of each sample.
    necks[1].last_active = torch.tensor([[2, 2, 0, 1]])
    assert [index.tolist() for index in last_active_neurons(nn.Sequential(*necks))] == [[0, 2], [1, 1], [2, 2, 0, 1]]
    assert last_active_neurons(nn.Identity()) == []


def test_deployed_necks():
    neck = DSTSNeck(in_channels=2, num_layers=2, num_neurons=3).eval()
    deployed = mmdsts.deploy(neck)
    x = torch.rand(8, 2, 2, 3, 3)
    deployed(x)
    neck(x)
    assert torch.equal(torch.stack(last_active_neurons(nn.Sequential(deployed))), neck.last_active)


def test_all_chunks_of_a_batch():
    """``max_testing_views`` runs the neck for four views, four views and two."""
    whole = build(CLIPS, CLIPS_SHAPE)
    model = copy.deepcopy(whole)
    model.test_cfg = dict(max_testing_views=4)
    for deployed in (False, True):
        if deployed:
            model, whole = mmdsts.deploy(model), mmdsts.deploy(whole)
        # Views of different brightness, so that they choose different neurons.
        inputs = [pixels(CLIPS_SHAPE[1:], batch=10) for _ in range(3)]
        for batch in inputs:
            for tested in (model, whole):
                tested.test_step(dict(inputs=[batch], data_samples=[ActionDataSample()]))
            assert len(whole.neck.last_active.unique()) > 1
            assert torch.equal(model.neck.last_active, whole.neck.last_active)
        assert len(answer(model, inputs[0][None]).active[0]) == 10
