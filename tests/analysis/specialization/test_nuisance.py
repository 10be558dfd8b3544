import numpy as np

from mmdsts.analysis.specialization.nuisance import TOYGYM, levels, nuisances_of
from mmdsts.toygym import ToyGymSpec, generate, read_nuisances


class _Listed:
    """What is asked of a data set."""

    def __init__(self, infos, ann_file='nowhere/list.txt'):
        self.infos, self.ann_file = infos, ann_file

    def get_data_info(self, index):
        return self.infos[index]


def test_levels_hold_as_many_values_each():
    assert np.bincount(levels(np.random.default_rng(0).random(400))).tolist() == [100] * 4
    assert levels([3.0, 0.0, 3.0]).tolist() == [1, 0, 1]
    assert levels([True, False]).tolist() == [1, 0]


def test_source_videos_where_clips_share_them():
    infos = [dict(video_id=name) for name in 'bbaacc']
    assert nuisances_of(_Listed(infos), range(6))['source video'].tolist() == [1, 1, 0, 0, 2, 2]
    assert nuisances_of(_Listed(infos), [0, 2, 4]) == {}  # each its own
    assert nuisances_of(_Listed([dict(filename='a.mp4')] * 3), range(3)) == {}
    assert nuisances_of(_Listed([dict(video_id='a')] * 3), range(3)) == {}  # nothing to tell apart


def test_toygym_says_what_its_clips_were_drawn_from(tmp_path):
    generate(tmp_path / 'toygym', ToyGymSpec(train_clips=1, val_clips=1), workers=1)
    drawn = read_nuisances(tmp_path / 'toygym')
    names = [line.split()[0] for line in (tmp_path / 'toygym' / 'toygym_val.txt').read_text().splitlines()]
    dataset = _Listed([dict(filename=f'x/{name}.mp4') for name in names], tmp_path / 'toygym' / 'toygym_val.txt')
    found = nuisances_of(dataset, range(24))
    assert set(found) == set(TOYGYM)
    assert found['facing left or right'].tolist() == [int(drawn[name].facing > 0) for name in names]
    fast = np.argsort([drawn[name].speed for name in names])[-6:]
    assert (found['speed'][fast] == 3).all()
