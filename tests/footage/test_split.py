from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmdsts.datasets.clip_table import TableClip
from mmdsts.errors import UsageError
from mmdsts.footage.split import split_clips


def clips_of(counts, split=None):
    """Clips by (group, label) and number."""
    return [
        TableClip(f'{group}_{label}_{i}.mp4', label, group=group, split=split)
        for (group, label), number in counts.items()
        for i in range(number)
    ]


@pytest.mark.parametrize('seed', range(5))
def test_no_group_is_on_both_sides_and_each_class_has_its_share(seed):
    rng = np.random.default_rng(seed)
    clips = clips_of({(f'g{g}', f'c{c}'): int(rng.integers(0, 6)) for g in range(40) for c in range(7)})
    split = split_clips(clips, share=0.25, seed=seed)
    train, val = split.clips['train'], split.clips['val']
    assert not {clip.group for clip in train} & {clip.group for clip in val}
    assert sorted(train + val) == sorted(clips)
    total, held = Counter(clip.label for clip in clips), Counter(clip.label for clip in val)
    assert all(0.15 < held[label] / total[label] < 0.35 for label in total)
    assert split.rule == 'by group: 40 groups, none of them on both sides'
    assert split.warnings == []


def test_without_groups_it_is_random_by_video_and_says_so():
    clips = [TableClip(f'{label}{i // 2}.mp4', label, i, i + 1) for label in 'ab' for i in range(40)]
    split = split_clips(clips)
    assert [len(split.clips[name]) for name in ('train', 'val')] == [60, 20]
    assert not {clip.path for clip in split.clips['train']} & {clip.path for clip in split.clips['val']}
    assert split.rule == 'at random'
    assert 'no groups are known, so the split is random' in split.warnings[0]
    assert split_clips(clips).clips == split.clips
    assert split_clips(clips, seed=1).clips != split.clips


def test_a_class_of_one_group_stays_in_training():
    split = split_clips(clips_of({('g', 'a'): 4, ('h', 'a'): 4, ('i', 'a'): 2, ('h', 'b'): 3}))
    assert {clip.group for clip in split.clips['val']} <= {'g', 'i'}
    assert split.warnings == ['val has no clip of b']
    with pytest.raises(UsageError, match='none of 9 clips can be held out: no class has clips of two groups'):
        split_clips([TableClip('x.mp4', 'a', i, i + 1) for i in range(9)])


def test_of_two_groups_one_is_held_out():
    split = split_clips(clips_of({('anna', 'a'): 4, ('ben', 'a'): 4, ('anna', 'b'): 2, ('ben', 'b'): 3}))
    assert [len({clip.group for clip in split.clips[name]}) for name in ('train', 'val')] == [1, 1]
    assert split.warnings == []


def test_the_only_group_is_kept_together_beside_clips_without():
    clips = clips_of({('anna', 'a'): 4, ('anna', 'b'): 4, (None, 'a'): 6, (None, 'b'): 6})
    for seed in range(5):
        split = split_clips(clips, seed=seed)
        assert len({name for name, part in split.clips.items() for clip in part if clip.group}) == 1
        assert split.warnings == ['12 clips have no group; each of their videos was taken for one']


def test_given_splits_are_kept_and_their_faults_named():
    train = clips_of({('g', 'a'): 2, ('h', 'b'): 2}, 'train')
    split = split_clips(train + clips_of({('g', 'a'): 1, ('i', 'b'): 1}, 'test'))
    assert [len(split.clips[name]) for name in ('train', 'val')] == [4, 2]
    assert split.warnings == ["1 groups are in several splits, such as 'g'"]
    both = split_clips(train + clips_of({('k', 'a'): 1}, 'val') + clips_of({('l', 'a'): 1}, 'test'))
    assert set(both.clips) == {'train', 'val', 'test'}
    with pytest.raises(UsageError, match=r"the clips name the splits \['train'\]; expected train and one of"):
        split_clips(train)
    with pytest.raises(UsageError, match='g_a_0.mp4 .* names no split, and 4 other clips do'):
        split_clips(train + clips_of({('g', 'a'): 1}))
