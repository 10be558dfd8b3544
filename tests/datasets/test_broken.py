"""A training list with broken files: h264.mp4 whole, and cut short under other names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmaction.registry import DATASETS, METRICS
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop

from mmdsts.datasets.parts import never_replace, parts
from mmdsts.errors import ClipError

WHOLE = (Path(__file__).parents[1] / 'fixtures' / 'videos' / 'h264.mp4').read_bytes()
PIPELINE = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


def training_set(folder, total, broken, pipeline=PIPELINE, **options):
    """``total`` clips, each with a label of its own, of which those in ``broken`` are cut short."""
    for i in range(total):
        (folder / f'{i}.mp4').write_bytes(WHOLE[:-500] if i in broken else WHOLE)
    (folder / 'list.txt').write_text(''.join(f'{i}.mp4 {i}\n' for i in range(total)))
    options = dict(dict(type='VideoDataset', pipeline=pipeline, data_prefix=dict(video=str(folder))), **options)
    return DATASETS.build(dict(ann_file=str(folder / 'list.txt'), **options))


def labels(loader):
    return sorted(int(sample.gt_label) for batch in loader for sample in batch['data_samples'])


def loader_of(dataset, workers):
    return Runner.build_dataloader(
        dict(batch_size=2, num_workers=workers, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    )


@pytest.mark.parametrize('workers', [0, 2])
def test_a_few_broken_clips_are_left_out_and_counted_over_all_workers(tmp_path, workers):
    np.random.seed(0)
    loader = loader_of(training_set(tmp_path, 8, (1, 6), max_broken=0.25), workers)
    for _ in range(2):
        found = labels(loader)
        assert len(found) == 8
        assert set(found) >= {0, 2, 3, 4, 5, 7} and not set(found) & {1, 6}
    broken = loader.dataset.broken_clips
    assert broken.count == 2
    assert 1 in broken and 6 in broken


def test_each_is_said_once(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr('mmdsts.datasets.broken.print_log', lambda text, **_: told.append(text))
    loader = loader_of(training_set(tmp_path, 8, (1, 6), max_broken=0.25), 0)
    labels(loader), labels(loader)
    assert len(told) == 2
    assert f'clip {tmp_path / "1.mp4"}: the file is incomplete' in ''.join(told)
    assert 'left out of training. 2 of 8 clips of' in told[1]


def test_too_many_end_it_with_what_was_wrong(tmp_path):
    dataset = training_set(tmp_path, 8, (1, 6), max_broken=0.2)
    with pytest.raises(
        ClipError,
        match=r'2 of 8 clips of .*list.txt cannot be loaded, and max_broken=0.2 allows 1; '
        r'tools/data/check_videos.py finds .* The last one: clip .*(1|6)\.mp4: the file is incomplete',
    ):
        labels(loader_of(dataset, 0))


def test_most_of_the_first_clips_end_it_whatever_the_share(tmp_path):
    dataset = training_set(tmp_path, 14, range(13), max_broken=1)
    with pytest.raises(ClipError, match='11 of 14 clips of .* cannot be loaded and [01] can'):
        labels(loader_of(dataset, 0))


@pytest.mark.parametrize('options', [dict(max_broken=0), dict(max_refetch=0), dict(test_mode=True)])
def test_none_may_be_broken(tmp_path, options):
    dataset = training_set(tmp_path, 2, (1,), **options)
    with pytest.raises(ClipError, match=r'clip .*1\.mp4: the file is incomplete'):
        labels(loader_of(dataset, 0))


@pytest.mark.parametrize('share', [-0.1, 1.1, 'a'])
def test_a_share_is_from_0_to_1(tmp_path, share):
    with pytest.raises(ValueError, match='max_broken is .*expected the share of clips .*, 0 to 1'):
        training_set(tmp_path, 2, (), max_broken=share)


def test_what_the_file_is_not_to_blame_for_is_no_broken_clip(tmp_path):
    wrong = [*PIPELINE[:3], dict(type='CenterCrop', crop_size=0), *PIPELINE[3:]]
    dataset = training_set(tmp_path, 2, (), wrong, max_broken=1)
    with pytest.raises(ClipError, match=r'clip .*0\.mp4: '):
        dataset[0]
    assert dataset.broken_clips.count == 0


def test_wrapped_data_sets_are_found(tmp_path):
    dataset = training_set(tmp_path, 2, ())
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[dataset, dataset]))
    wrapped = DATASETS.build(dict(type='RepeatDataset', dataset=dataset, times=2))
    assert list(parts(joined)) == [dataset, dataset]
    assert list(parts(wrapped)) == [dataset]
    assert not dataset.test_mode
    never_replace(wrapped)
    assert dataset.test_mode
    assert list(parts(range(3))) == []


def test_a_loop_that_evaluates_never_takes_another_clip(tmp_path):
    dataset = training_set(tmp_path, 2, (1,), max_broken=1)  # whose config forgot test_mode
    loop = TestLoop(
        SimpleNamespace(visualizer=SimpleNamespace()),
        loader_of(dataset, 0),
        Evaluator([METRICS.build(dict(type='AccMetric'))]),
    )
    with pytest.raises(ClipError, match=r'clip .*1\.mp4: the file is incomplete'):
        labels(loop.dataloader)
