"""Sharing the backbone between steps: kinds of backbones and recognizers, and what cannot be shared."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from mmengine.utils import digit_version
from torch import nn

from mmdsts.engine.backbone import BackboneTape

from ..test_optim_wrapper import build_wrapper, reference_error
from ..toy_recognizer import WIDTH, ToyBackbone, build_recognizer, changed, make_batch, recognizer_config, state_of


@MODELS.register_module(force=True)
class ToyStages(ToyBackbone):
    """A backbone that returns a tuple of stages."""

    def forward(self, x):
        out = super().forward(x)
        return out.mean(dim=(3, 4), keepdim=True), out


@MODELS.register_module(force=True)
class ToyFrames(BaseModule):
    """A 2D backbone in the manner of TSM: it knows its number of segments."""

    def __init__(self, num_segments=4):
        super().__init__()
        self.num_segments = num_segments
        self.conv = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, x):
        return torch.tanh(self.norm(self.conv(x)))


def build(config, seed=0):
    torch.manual_seed(seed)
    return MODELS.build(config).double().train()


def frames_config(backbone, **neck):
    config = recognizer_config(neck=neck)
    config.update(
        type='DSTSRecognizer2D',
        backbone=backbone,
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[0.1, 0.2, 0.3], std=[1.1, 0.9, 1.0], format_shape='NCHW'
        ),
    )
    config['cls_head'] = dict(type='TSNHead', num_classes=3, in_channels=WIDTH, dropout_ratio=0.2)
    return config


def frames_batch(seed, segments=4):
    batch = make_batch(seed=seed)
    batch['inputs'] = [x[0].transpose(0, 1).repeat(segments // 2, 1, 1, 1) for x in batch['inputs']]
    return batch


@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_backbone_that_returns_stages(scope):
    config = recognizer_config(neck=dict(in_index=1))
    config['backbone']['type'] = 'ToyStages'
    model = build(config)
    assert reference_error(model, build_wrapper(model, udl=dict(scope=scope)), scope=scope) < 1e-13


@pytest.mark.parametrize('scope', ['neck', 'full'])
def test_2d_backbone(scope, monkeypatch):
    import tests.engine.test_optim_wrapper as reference

    monkeypatch.setattr(reference, 'make_batch', lambda seed: frames_batch(seed))
    model = build(frames_config(dict(type='ToyFrames')))
    assert reference_error(model, build_wrapper(model, udl=dict(scope=scope)), scope=scope) < 1e-13


def test_every_way_that_recognizers_run_backbones():
    """torchvision's ``features``, a submodule, and timm's ``forward_features``, a method."""

    class Backbone(nn.Module):
        num_segments = 8

        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.BatchNorm1d(2))

        def forward_features(self, x):
            return 2 * self.features(x)

        def forward(self, x):
            return 3 * self.features(x)

    class Recognizer(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()

        def forward(self, x):
            assert self.backbone.num_segments == 8
            assert not hasattr(self.backbone, 'nothing')
            assert self.backbone.training
            return self.backbone.features(x), self.backbone.forward_features(x), self.backbone(x)

    model, x = Recognizer(), torch.randn(4, 2)
    twin = Recognizer()
    twin.load_state_dict(model.state_dict())
    expected = twin(x)
    tape = BackboneTape(model)
    before = state_of(model)
    with tape.record(detach=True):
        recorded = model(x)
    assert not changed(before, state_of(model))
    assert all(not out.requires_grad for out in recorded)
    with tape.replay(detach=False):
        replayed = model(torch.zeros(0))
    assert isinstance(model.backbone, Backbone)
    for out, again, truth in zip(recorded, replayed, expected):
        assert torch.equal(out, truth)
        assert torch.equal(again, truth)
    assert not changed(state_of(twin), state_of(model)), 'the replay moves the buffers as the forward would have'
    torch.stack([out.sum() for out in replayed]).sum().backward()
    assert model.backbone.features[0].weight.grad is not None


def test_replay_continues_the_random_stream():
    model = build_recognizer(dropout=0.5)
    batch = model.data_preprocessor(make_batch(), True)
    torch.manual_seed(0)
    losses = model(**batch, mode='loss')
    after = torch.get_rng_state()
    tape = BackboneTape(model)
    torch.manual_seed(0)
    with tape.record(detach=False):
        first = model(**batch, mode='loss')
    torch.manual_seed(0)
    with tape.replay(detach=True):
        second = model(**batch, mode='loss')
    assert torch.equal(torch.get_rng_state(), after)
    assert losses['loss_cls'] == second['loss_cls']
    assert first['loss_cls'] == second['loss_cls']


def test_constant_features_move_nothing():
    model = build_recognizer()
    batch = model.data_preprocessor(make_batch(), True)
    before = state_of(model.backbone)
    with BackboneTape(model).constant():
        loss = model(**batch, mode='loss')['loss_cls']
    assert not changed(before, state_of(model.backbone))
    loss.backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.neck.reduce.weight.grad is not None


class Bypass(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        for _ in range(self.calls):
            x = self.backbone(x)
        return x


def test_unlike_forwards_are_an_error():
    model, tape = Bypass(), None
    tape = BackboneTape(model)
    with tape.record(detach=True):
        model(torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="ran its 'backbone' more often.*backbone=None"), tape.replay(detach=True):
        model(torch.zeros(1, 2))
    assert isinstance(model.backbone, nn.Sequential), 'the backbone is back after an error'


def test_backbone_that_is_not_called_is_an_error():
    tape = BackboneTape(Bypass())
    with pytest.raises(RuntimeError, match="did not run its 'backbone' through.*backbone=None"), tape.record(True):
        pass


# Activation checkpointing ------------------------------------------------------------------------------------------


# Before 2.1, checkpointing without reentering registers its hooks without gradients too.
non_reentrant = pytest.param(
    'non-reentrant',
    marks=pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.1'), reason='needs torch >= 2.1'),
)


@pytest.mark.parametrize('checkpoint', ['reentrant', non_reentrant])
def test_checkpointing_in_the_backbone_works_with_scope_neck(checkpoint):
    model = build_recognizer(checkpoint=checkpoint)
    plain = build_recognizer()
    for each in (model, plain):
        torch.manual_seed(1)
        build_wrapper(each).train_step(each, make_batch(seed=1), make_batch(seed=2))
    assert not changed(state_of(plain), state_of(model))


@pytest.mark.parametrize('checkpoint', ['reentrant', 'non-reentrant'])
def test_checkpointing_where_udl_differentiates_is_an_error(checkpoint):
    model = build_recognizer(checkpoint=checkpoint)
    before = state_of(model)
    with pytest.raises(RuntimeError, match="activation checkpointing.*scope='neck'"):
        build_wrapper(model, udl=dict(scope='full')).train_step(model, make_batch(seed=1), make_batch(seed=2))
    assert not changed(before, state_of(model))
