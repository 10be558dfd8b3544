import math

import pytest
import torch

from mmdsts.analysis.ablation import FeatureSet, FrozenRecognizer, frozen, train_on_features
from mmdsts.analysis.ablation.frozen import class_scores

from .samples import rise_or_fall

TRAIN, TEST = rise_or_fall(48, seed=0), rise_or_fall(40, seed=1)
TWO_OPERATORS = dict(type='TwoOperatorNeck', in_channels=4, num_layers=1)
DSTS = dict(type='DSTSNeck', in_channels=4, num_layers=1, num_neurons=2)
UDL = dict(type='UDLOptimWrapper', udl=dict(scope='neck'), optimizer=dict(type='AdamW', lr=1e-2))


@pytest.fixture
def steps(monkeypatch):
    """Features of every forward pass of a training, in order."""
    seen, forward = [], FrozenRecognizer.forward

    def record(self, inputs, labels=None, mode='tensor'):
        if mode == 'loss':
            seen.append(inputs)
        return forward(self, inputs, labels, mode)

    monkeypatch.setattr(FrozenRecognizer, 'forward', record)
    return seen


def test_a_neck_learns_what_the_mean_does_not_show():
    wide = dict(TWO_OPERATORS, operator_channels=16)
    optimizer = dict(optimizer=dict(type='AdamW', lr=2e-2))
    alone = train_on_features(TRAIN, TEST, neck=None, epochs=15, batch_size=8)
    run = train_on_features(TRAIN, TEST, neck=wide, epochs=15, batch_size=8, optim_wrapper=optimizer)
    assert alone.correct.float().mean() < 0.75
    assert run.correct.float().mean() > 0.9
    assert run.correct.tolist() == (run.predictions == TEST.labels).tolist()
    assert alone.parameters == 4 * 2 + 2
    assert run.parameters == alone.parameters + 12 * 4 * 16 + 4 * 16 + 16 * 4 + 4
    assert run.log['loss'] < alone.log['loss']
    assert run.seconds > 0


def test_same_seed_same_run_and_the_callers_generator_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    logs = [train_on_features(TRAIN, TEST, neck=DSTS, epochs=2, batch_size=8, seed=seed).log for seed in (3, 3, 4)]
    assert torch.equal(torch.rand(3), expected)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]
    assert {'loss', 'share/l0_n0', 'share/l0_n1'} <= set(logs[0])


@pytest.mark.parametrize('neck', [None, TWO_OPERATORS, DSTS], ids=['alone', 'two operators', 'dsts'])
def test_runs_of_a_seed_are_paired(steps, neck):
    still = dict(optimizer=dict(type='SGD', lr=0.0))
    reference = train_on_features(TRAIN, TEST, neck=None, epochs=2, batch_size=8, seed=5, optim_wrapper=still)
    order = [batch.clone() for batch in steps]
    steps.clear()
    run = train_on_features(TRAIN, TEST, neck=neck, epochs=2, batch_size=8, seed=5, optim_wrapper=still)
    assert len(order) == 12
    assert all(map(torch.equal, steps, order))
    assert not torch.equal(torch.cat(order[:6]), torch.cat(order[6:]))
    assert torch.equal(run.model.cls_head.fc_cls.weight, reference.model.cls_head.fc_cls.weight)
    steps.clear()
    other = train_on_features(TRAIN, TEST, neck=neck, epochs=1, batch_size=8, seed=6, optim_wrapper=still)
    assert not torch.equal(torch.cat(steps), torch.cat(order[:6]))
    assert not torch.equal(other.model.cls_head.fc_cls.weight, reference.model.cls_head.fc_cls.weight)


def test_noise_of_a_seed_is_that_of_the_training_alone(monkeypatch):
    """It begins alike whatever was drawn for the weights before, and not with the numbers that they are made of."""
    begin, train_epoch = [], frozen._train_epoch

    def watched(*args):
        begin.append(torch.rand(3))
        return train_epoch(*args)

    monkeypatch.setattr(frozen, '_train_epoch', watched)
    for neck, seed in ((None, 5), (DSTS, 5), (DSTS, 6)):
        train_on_features(TRAIN, TEST, neck=neck, epochs=1, batch_size=8, seed=seed)
    torch.manual_seed(5)
    assert torch.equal(begin[0], begin[1])
    assert not torch.equal(begin[0], begin[2])
    assert not torch.equal(begin[0], torch.rand(3))


def test_learning_rate_falls_along_half_a_cosine_step_by_step():
    # Zero features: only weight decay moves the weights of the head.
    nothing = FeatureSet(torch.zeros_like(TRAIN.features), TRAIN.labels)
    weights = []
    for lr in (0.0, 0.5):
        sgd = dict(optimizer=dict(type='SGD', lr=lr, weight_decay=0.1))
        run = train_on_features(nothing, TEST, neck=None, epochs=2, batch_size=8, optim_wrapper=sgd)
        weights.append(run.model.cls_head.fc_cls.weight)
    rates = [0.5 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    shrunk = math.prod(1 - 0.1 * rate for rate in rates)
    assert torch.allclose(weights[1], weights[0] * shrunk, rtol=1e-4)


def test_udl_trains_with_the_next_batch_held_out(steps):
    run = train_on_features(TRAIN, TEST, neck=DSTS, epochs=1, batch_size=8, optim_wrapper=UDL)
    # Simulated, meta and actual step see the training batch, the held-out batch and the training batch.
    assert len(steps) == 3 * 6
    batches = [steps[i : i + 3] for i in range(0, 18, 3)]
    for (simulated, heldout, actual), (following, _, _) in zip(batches, batches[1:] + batches[:1]):
        assert torch.equal(simulated, actual)
        assert torch.equal(heldout, following)
    assert run.log['upstream_grad_norm'] > 0
    assert math.isfinite(run.log['heldout_loss'])
    plain = train_on_features(TRAIN, TEST, neck=DSTS, epochs=1, batch_size=8)
    assert 'heldout_loss' not in plain.log


def test_the_head_of_a_config_is_used():
    head = dict(type='I3DHead', in_channels=4, num_classes=3, dropout_ratio=0.0, label_smooth_eps=0.1)
    run = train_on_features(TRAIN, TEST, neck=None, cls_head=head, epochs=1, batch_size=8)
    assert run.model.cls_head.num_classes == 3
    assert run.model.cls_head.label_smooth_eps == 0.1


def test_epochs_are_reported_and_predictions_are_the_best_scores():
    seen = []
    run = train_on_features(
        TRAIN,
        TEST,
        neck=TWO_OPERATORS,
        epochs=3,
        batch_size=16,
        on_epoch=lambda epoch, model, log: seen.append((epoch, log['loss'])),
    )
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert seen[-1][1] == run.log['loss']
    with torch.no_grad():
        assert torch.equal(run.model(TEST.features, mode='predict'), run.predictions)
    assert torch.equal(run.scores.argmax(dim=1), run.predictions)
    assert torch.allclose(class_scores(run.model.train(), TEST.features[:5]), run.scores[:5], atol=1e-6)


def test_what_cannot_be_trained_is_named():
    with pytest.raises(ValueError, match=r'48 training samples do not fill one batch of 64'):
        train_on_features(TRAIN, TEST, neck=None, batch_size=64)
    with pytest.raises(ValueError, match=r'one batch an epoch'):
        train_on_features(TRAIN, TEST, neck=DSTS, batch_size=48, epochs=1, optim_wrapper=UDL)
    with pytest.raises(ValueError, match=r'epochs must be at least 1, got 0'):
        train_on_features(TRAIN, TEST, neck=None, epochs=0)
    broken = TRAIN._replace(features=TRAIN.features.clone().fill_(math.nan))
    with pytest.raises(FloatingPointError, match=r'training loss of epoch 1 is nan'):
        train_on_features(broken, TEST, neck=None, epochs=1)
    with pytest.raises(ValueError, match=r"mode must be .*got 'train'"):
        train_on_features(TRAIN, TEST, neck=None, epochs=1).model(TEST.features, mode='train')
