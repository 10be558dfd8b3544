"""The positive control: it is what it says, and DSTS with its defaults gains on it."""

import pytest
import torch

from mmdsts.analysis.ablation import train_on_features
from mmdsts.analysis.ablation.extraction import load_features
from mmdsts.analysis.ablation.statistics import paired_interval
from mmdsts.analysis.ablation.variants import find_variant
from mmdsts.analysis.control import ControlSpec, control_config, control_files, make_control


def test_classes_are_groups_with_their_own_bits():
    spec = ControlSpec(groups=3, bits=3, channels=6, noise=0.0, seed=4)
    train, test = make_control(spec, train=400, test=50)
    assert train.features.shape == (400, 6, 8, 4, 4) and len(test.labels) == 50
    assert spec.num_classes == 24 and sorted(train.labels.unique().tolist()) == list(range(24))
    assert torch.equal(train.labels // 8, train.groups)


def test_pooling_leaves_the_group_and_nothing_of_the_class():
    train, _ = make_control(ControlSpec(groups=4, channels=5, noise=0.0), train=200, test=1)
    pooled = train.features.mean(dim=(2, 3, 4))
    for group in range(4):
        members = pooled[train.groups == group]
        torch.testing.assert_close(members, members[:1].expand_as(members), atol=1e-5, rtol=0)
        assert members[0].norm().item() == pytest.approx(2, abs=1e-4)


def test_only_the_direction_of_the_own_group_tells_the_bit():
    spec = ControlSpec(groups=2, channels=64, noise=0.0)
    train, _ = make_control(spec, train=300, test=1)
    # Difference of right and left column, averaged over time and rows: a sum of both groups' directions.
    gradient = (train.features[..., -1] - train.features[..., 0]).mean(dim=(2, 3)) / 2
    bit = (train.labels % 4 % 2).float() * 2 - 1
    own = train.groups == 0
    direction = (gradient[own] * bit[own, None]).mean(dim=0)
    told = ((gradient @ direction).sign() == bit).float()
    assert told[own].mean() > 0.99
    assert abs(told[~own].mean() - 0.5) < 0.15


def test_files_hold_it_and_are_kept(tmp_path):
    spec = ControlSpec(groups=2)
    files = control_files(spec, tmp_path, train=20, test=10)
    train, _ = make_control(spec, train=20, test=10)
    assert all(torch.equal(a, b) for a, b in zip(load_features(files[0]), train))
    before = [file.stat().st_mtime_ns for file in files]
    assert control_files(spec, tmp_path, train=20, test=10) == files
    assert [file.stat().st_mtime_ns for file in files] == before
    assert control_files(spec, tmp_path, train=21, test=10) != files


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(groups=0), 'groups must be at least 1, got 0'),
        (dict(size=(8, 4, 1)), 'size must be'),
        (dict(size=5), 'size must be'),
        (dict(size=(8, 'a', 4)), 'size must be'),
        (dict(groups='x'), "groups must be a whole number, got 'x'"),
        (dict(channels=2.5), 'channels must be a whole number, got 2.5'),
        (dict(noise=-1.0), 'noise must be a number that is not negative, got -1.0'),
        (dict(distance='far'), "distance must be a number that is not negative, got 'far'"),
    ],
)
def test_a_control_that_cannot_be_is_explained(change, message):
    with pytest.raises(ValueError, match=message):
        ControlSpec(**change)


@pytest.mark.slow
@pytest.mark.new_neurons
def test_dsts_with_its_defaults_gains_where_the_premise_holds():
    """Above its static twin and above two operators of its width, who do twice the work, beyond the clips' error."""
    spec = ControlSpec()
    train, test = make_control(spec)
    neck = dict(control_config(spec).model.neck)
    runs = {
        name: train_on_features(train, test, neck=find_variant(name, neck).neck, num_classes=spec.num_classes, seed=2)
        for name in ('dsts', 'static', 'two_operators')
    }
    correct = {name: run.correct[None].numpy() for name, run in runs.items()}
    for name in ('static', 'two_operators'):
        gain = paired_interval(correct['dsts'], correct[name])
        print(name, {n: round(run.correct.float().mean().item(), 3) for n, run in runs.items()}, gain)
        assert gain.low > 0, name
    assert all(runs['dsts'].log[f'agreement/l{layer}'] > 0.9 for layer in range(2))
