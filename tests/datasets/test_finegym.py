from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmaction.registry import DATASETS

from mmdsts.datasets import FineGymDataset
from mmdsts.datasets import availability as availability_module
from mmdsts.datasets import finegym as finegym_module
from mmdsts.datasets.finegym import identify_version, read_categories, read_elements, read_sets
from mmdsts.errors import ClipError

from .decoding.numbered import number, write_numbered
from .shared_data import real_list

FIXTURES = Path(__file__).parents[1] / 'fixtures' / 'finegym'
TRAIN = str(FIXTURES / 'train_v1.1.txt')
CLIPS = [line.split()[0] for line in Path(TRAIN).read_text().splitlines()]


@pytest.fixture
def videos(tmp_path):
    for clip in CLIPS:
        (tmp_path / f'{clip}.mp4').write_bytes(b'a video')
    return tmp_path


@pytest.fixture
def log(monkeypatch):
    lines = []
    for module in (finegym_module, availability_module):
        monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: lines.append(text))
    return lines


def build(videos, ann_file=TRAIN, **kwargs):
    return FineGymDataset(ann_file, [], data_prefix=dict(video=str(videos)), **kwargs)


def test_reads_clips_labels_and_source_videos(videos):
    dataset = build(videos)
    assert len(dataset) == 5
    first, last = dataset.get_data_info(0), dataset.get_data_info(4)
    assert first['filename'] == str(videos / 'vaultVideo1_E_000010_000042_A_0003_0005.mp4')
    assert (first['label'], first['video_id']) == (0, 'vaultVideo1')
    assert (first['start_index'], first['modality']) == (0, 'RGB')
    assert (last['label'], last['video_id']) == (1, '-barsVideo2')


def test_is_registered_and_joins_data_root(videos):
    (videos / 'lists').mkdir()
    for name in ('train_v1.1.txt', 'categories.txt', 'sets.txt'):
        (videos / 'lists' / name).write_text((FIXTURES / name).read_text())
    dataset = DATASETS.build(
        dict(
            type='FineGymDataset',
            data_root=str(videos),
            data_prefix=dict(video=''),
            pipeline=[],
            ann_file='lists/train_v1.1.txt',
            categories_file='lists/categories.txt',
            sets_file='lists/sets.txt',
        )
    )
    assert len(dataset) == 5
    assert dataset.metainfo['set_names'] == {1: 'vault', 32: 'BB_turns'}


def test_categories_become_the_metainfo(videos):
    dataset = build(videos, categories_file=str(FIXTURES / 'categories.txt'), lazy_init=True)
    meta = dataset.metainfo
    assert meta['classes'][0] == '(VT) round-off, salto forward tucked'
    assert meta['classes'][3] == '(BB) 2 turn in tuck stand; free leg optional'  # keeps its semicolon
    assert meta['class_sets'] == [1, 1, 32, 32]
    assert dataset.num_classes == 4
    dataset.full_init()
    assert dataset.metainfo['annotation_version'] == 'v1.1'


def test_other_suffix(tmp_path):
    for clip in CLIPS:
        (tmp_path / f'{clip}.webm').write_bytes(b'a video')
    assert build(tmp_path, suffix='.webm').get_data_info(0)['filename'].endswith('_0005.webm')


# --- incomplete downloads ---------------------------------------------------------------------------------


def test_missing_clips_stop_by_default(videos):
    (videos / f'{CLIPS[0]}.mp4').unlink()
    with pytest.raises(FileNotFoundError, match="1 of 5 clips are missing .*missing='skip'") as error:
        build(videos)
    assert CLIPS[0] in str(error.value)


def test_skip_says_how_many_clips_and_classes_are_left(videos, log):
    (videos / f'{CLIPS[0]}.mp4').unlink()
    (videos / f'{CLIPS[1]}.mp4').write_bytes(b'')  # an interrupted download
    dataset = build(videos, missing='skip', categories_file=str(FIXTURES / 'categories.txt'))
    assert [dataset.get_data_info(i)['filename'] for i in range(len(dataset))] == [
        str(videos / f'{clip}.mp4') for clip in CLIPS[2:]
    ]
    text = '\n'.join(log)
    assert '2 of 5 clips are missing' in text
    assert 'the 3 others, of 3 of 4 classes' in text
    assert '(VT) round-off, salto forward tucked' in text  # the class without a clip, by its name
    assert 'not comparable' in text


def test_few_names_are_printed(tmp_path, log):
    lines = [f'manyVideos0_E_{i:06d}_{i + 9:06d}_A_0000_0001 0' for i in range(50)]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    (tmp_path / f'{lines[7].split()[0]}.mp4').write_bytes(b'a video')
    build(tmp_path, str(tmp_path / 'list.txt'), missing='skip')
    assert log[-1].count('manyVideos0') == 3
    assert 'and 46 more' in log[-1]


@pytest.mark.parametrize('missing', ['error', 'skip'])
def test_no_clip_at_all_is_an_error(tmp_path, missing):
    with pytest.raises(FileNotFoundError, match='5 of 5 clips are missing .*check data_prefix and suffix'):
        build(tmp_path, missing=missing)


@pytest.mark.parametrize('missing', ['error', 'skip'])
def test_a_wrong_folder_is_an_error(tmp_path, missing):
    with pytest.raises(FileNotFoundError, match='nowhere.*is not there; set data_prefix'):
        build(tmp_path / 'nowhere', missing=missing)


def test_unknown_choice_for_missing(videos):
    with pytest.raises(ValueError, match="missing must be one of .*got 'ignore'"):
        build(videos, missing='ignore')


# --- the version ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'lines', 'version', 'reason'),
    [
        ('gym99_train_element_v1.1.txt', 26320, 'v1.1', 'those of gym99 train'),
        ('gym99_train.txt', 20484, 'v1.0', 'those of gym99 train'),
        ('gym288_train_element_v1.0.txt', 22671, 'v1.0', 'those of gym288 train'),
        ('renamed.txt', 29334, 'v1.1', 'those of gym288 train'),
        ('gym99_val_element.txt', 8521, 'v1.0 and v1.1', 'those of gym99 val'),
        ('gym288_val_element.txt', 9646, 'v1.0 and v1.1', 'those of gym288 val'),
        ('gym99_train_v1.1_available.txt', 12000, 'v1.1', 'not a complete official list'),
        ('gym99_train_element_v1.1.txt', 20484, 'v1.0', 'although its name says v1.1'),
        ('mine.txt', 12, 'unknown', 'no official list'),
        ('mine_v1.10.txt', 12, 'unknown', 'no official list'),
    ],
)
def test_version(name, lines, version, reason):
    found, why = identify_version('some/folder_v1.0/' + name, lines)
    assert found == version
    assert reason in why


def test_the_version_is_always_logged(videos, log):
    build(videos)
    assert 'train_v1.1.txt: version v1.1 (by its name' in log[0]
    assert '5 clips of 4 classes' in log[0]


# --- malformed files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'line',
    [
        'vaultVideo1_E_000010_000042_A_0003_0005',  # no label
        'vaultVideo1_E_000010_000042_A_0003_0005 -1',
        'vaultVideo1_E_000010_000042_A_0003_0005 7 8',
        'shortVideo_E_000010_000042_A_0003_0005 7',  # 10 characters
        'vaultVideo1_E_000010_000042 7',  # an event, not an element
        'videos/a.mp4 7',
    ],
)
def test_malformed_lines_name_file_line_and_form(tmp_path, line):
    path = tmp_path / 'list.txt'
    path.write_text(f'{CLIPS[0]} 0\n\n{line}\n')
    with pytest.raises(ValueError, match=r'list\.txt, line 3: found .*expected VIDEO_E_START_END') as error:
        read_elements(str(path))
    assert line in str(error.value)


@pytest.mark.parametrize('windows', ['E_000042_000010_A_0003_0005', 'E_000010_000042_A_0005_0003'])
def test_windows_that_end_before_they_start(tmp_path, windows):
    (tmp_path / 'list.txt').write_text(f'vaultVideo1_{windows} 7')
    with pytest.raises(ValueError, match='line 1: .*ends before it starts'):
        read_elements(str(tmp_path / 'list.txt'))


def test_files_that_are_empty_or_absent(tmp_path):
    (tmp_path / 'list.txt').write_text('\n\n')
    with pytest.raises(ValueError, match=r'list\.txt has no line of the form VIDEO_E'):
        read_elements(str(tmp_path / 'list.txt'))
    with pytest.raises(FileNotFoundError, match=r'none\.txt is not there'):
        read_elements(str(tmp_path / 'none.txt'))


def test_malformed_categories(tmp_path):
    path = tmp_path / 'categories.txt'
    path.write_text('Clabel: 0; set: 1; Glabel: 1; one\nClabel: 2; set: 1; Glabel: 3; three\n')
    with pytest.raises(ValueError, match=r'categories\.txt, line 2: .*expected Clabel 1'):
        read_categories(str(path))
    path.write_text('0: one\n')
    with pytest.raises(ValueError, match=r'line 1: found .0: one., expected Clabel: 0; set: 1'):
        read_categories(str(path))
    with pytest.raises(ValueError, match=r'line 1: found .0: one., expected set: 1; NAME'):
        read_sets(str(path))


def test_labels_outside_the_categories(tmp_path, videos):
    path = tmp_path / 'list.txt'
    path.write_text(f'{CLIPS[0]} 0\n{CLIPS[1]} 4\n')
    with pytest.raises(ValueError, match=f'list.txt: {CLIPS[1]} has label 4, expected 0 to 3'):
        build(videos, str(path), categories_file=str(FIXTURES / 'categories.txt'))
    with pytest.raises(ValueError, match='num_classes=5, but .* has 4 classes'):
        build(videos, categories_file=str(FIXTURES / 'categories.txt'), num_classes=5)


def test_repeated_clips(tmp_path, videos, log):
    path = tmp_path / 'list.txt'
    path.write_text(f'{CLIPS[0]} 0\n{CLIPS[1]} 1\n{CLIPS[0]} 0\n')
    assert len(build(videos, str(path))) == 2
    assert '1 lines repeat a clip' in log[-1]
    path.write_text(f'{CLIPS[0]} 0\n{CLIPS[0]} 1\n')
    with pytest.raises(ValueError, match=f'{CLIPS[0]}.mp4.* has label 0 and, further down, 1'):
        build(videos, str(path))


# --- the official lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'lines', 'version'),
    [
        ('gym99_train_element_v1.1.txt', 26320, 'v1.1'),
        ('gym99_val_element.txt', 8521, 'v1.0 and v1.1'),
        ('gym99_train_element_v1.0.txt', 20484, 'v1.0'),
        ('gym288_train_element_v1.1.txt', 29334, 'v1.1'),
        ('gym288_train_element_v1.0.txt', 22671, 'v1.0'),
        ('gym288_val_element.txt', 9646, 'v1.0 and v1.1'),
    ],
)
def test_official_lists(name, lines, version):
    elements = read_elements(real_list('finegym', name))
    assert len(elements) == len(dict(elements)) == lines  # no clip twice
    assert identify_version(name, len(elements))[0] == version
    if name.startswith('gym99'):
        assert {label for _, label in elements} == set(range(99))


def test_official_categories():
    categories = read_categories(real_list('finegym', 'gym99_categories.txt'))
    sets = read_sets(real_list('finegym', 'set_categories.txt'))
    assert len(categories.classes) == 99
    assert len(set(categories.classes)) == 98  # two classes share a description: a name alone is no label
    assert len(sets) == 15
    assert set(categories.sets) <= set(sets)


def test_official_train_list_with_one_clip_there(tmp_path, log):
    ann_file = real_list('finegym', 'gym99_train_element_v1.1.txt')
    (tmp_path / 'zNL3kn3UBmg_E_008111_008200_A_0084_0085.mp4').write_bytes(b'a video')
    dataset = build(tmp_path, ann_file, missing='skip', categories_file=real_list('finegym', 'gym99_categories.txt'))
    assert len(dataset) == 1
    assert dataset.get_data_info(0)['label'] == 62
    assert 'version v1.1' in log[0]
    assert '26319 of 26320 clips are missing' in log[1]
    assert 'the 1 others, of 1 of 99 classes' in log[1]


# --- wrappers of MMEngine ---------------------------------------------------------------------------------


@pytest.mark.parametrize('multi_class', [False, True])
def test_class_balanced_dataset_repeats_rare_classes(tmp_path, multi_class):
    labels = [0] * 16 + [1] * 4 + [2]
    clips = [f'rareVideo00_E_{i:06d}_{i:06d}_A_0000_0000' for i in range(len(labels))]
    (tmp_path / 'list.txt').write_text('\n'.join(f'{clip} {label}' for clip, label in zip(clips, labels)))
    for clip in clips:
        (tmp_path / f'{clip}.mp4').write_bytes(b'a video')
    inner = dict(
        type='FineGymDataset',
        ann_file=str(tmp_path / 'list.txt'),
        data_prefix=dict(video=str(tmp_path)),
        pipeline=[],
        num_classes=3,
        multi_class=multi_class,
    )
    balanced = DATASETS.build(dict(type='ClassBalancedDataset', oversample_thr=0.8, dataset=inner))
    assert [balanced.dataset.get_cat_ids(i) for i in (0, 16, 20)] == [[0], [1], [2]]
    # ceil(sqrt(threshold / frequency)): of 21 clips 16, 4 and 1.
    assert [balanced.get_cat_ids(i)[0] for i in range(len(balanced))] == [0] * 16 * 2 + [1] * 4 * 3 + [2] * 5


# --- windows of longer videos -----------------------------------------------------------------------------

INFO = {
    'vaultVideo1': {
        'E_000010_000042': {
            'timestamps': [[10.5, 42.25]],
            'segments': {'A_0003_0005': {'timestamps': [[3.0, 3.5], [3.5, 5.75]]}},
        }
    }
}


def test_whole_videos_events_and_clips_alike(tmp_path, log):
    for name in ('vaultVideo1.webm', 'beam_video-_E_000100_000190.mkv', f'deep/{CLIPS[3]}.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'a video')
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists' / 'train_v1.1.txt').write_text(Path(TRAIN).read_text())
    for info in ({}, dict(info_file=str(tmp_path / 'times.json'))):
        (tmp_path / 'times.json').write_text(json.dumps(INFO))
        dataset = build(tmp_path, str(tmp_path / 'lists' / 'train_v1.1.txt'), missing='skip', **info)
        found = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert [Path(clip['filename']).name for clip in found] == [
            'vaultVideo1.webm',
            'vaultVideo1.webm',
            'beam_video-_E_000100_000190.mkv',
            f'{CLIPS[3]}.mp4',
        ]
        # The first by its times if they are given, the others by the whole seconds of their names.
        first = (13.5, 16.25) if info else (13.5, 16.5)
        windows = [(clip.get('start'), clip.get('end')) for clip in found]
        assert windows == [first, (17.5, 18.5), (12, 15), (None, None)]
        assert [clip['label'] for clip in found] == [0, 1, 2, 3]
        assert '1 of 5 clips are missing' in log[-2]
        assert '1 in clips of their own, 1 as windows of event clips, 2 as windows of whole videos' in log[-1]
        assert f'times of {len(info)} windows from ' in log[-1]
        assert f'of {3 - len(info)} from the whole seconds' in log[-1]
    # Beside the list, it is found by its name.
    (tmp_path / 'lists' / 'finegym_annotation_info_v1.1.json').write_text(json.dumps(INFO))
    dataset = build(tmp_path, str(tmp_path / 'lists' / 'train_v1.1.txt'), missing='skip')
    assert dataset.get_data_info(0)['end'] == 16.25
    with pytest.raises(FileNotFoundError, match=r'none\.json is not there; it is the temporal annotation'):
        build(tmp_path, missing='skip', info_file='none.json')


def test_clips_of_their_own_are_no_windows(videos, log):
    (videos / 'vaultVideo1.mp4').write_bytes(b'a video')
    dataset = build(videos)
    assert not any('start' in dataset.get_data_info(i) for i in range(5))
    assert len(log) == 1


def test_windows_need_a_pipeline_that_reads_them(tmp_path):
    (tmp_path / 'vaultVideo1.mp4').write_bytes(b'a video')
    data = dict(data_prefix=dict(video=str(tmp_path)), missing='skip')
    for init in ('DecordInit', 'ClipInit'):
        with pytest.raises(ValueError, match='put ClipInit and ClipDecode where DecordInit and DecordDecode are'):
            FineGymDataset(TRAIN, [dict(type=init), dict(type='DecordDecode')], **data)
    assert len(FineGymDataset(TRAIN, [dict(type='ClipInit'), dict(type='ClipDecode')], **data)) == 2


def test_frames_of_windows(tmp_path):
    pytest.importorskip('av')
    write_numbered(tmp_path / 'vaultVideo1.mkv', [i / 10 for i in range(250)], bf='2', preset='ultrafast')
    pipeline = [dict(type='ClipInit'), dict(type='UniformSample', clip_len=4), dict(type='ClipDecode')]
    (tmp_path / 'times.json').write_text(json.dumps(INFO))
    data = dict(data_prefix=dict(video=str(tmp_path)), missing='skip', info_file=str(tmp_path / 'times.json'))
    dataset = FineGymDataset(TRAIN, pipeline, **data)
    for index, (start, end) in enumerate([(13.5, 16.25), (17.5, 18.5)]):
        numbers = [number(frame) for frame in dataset[index]['imgs']]
        assert all(start <= n / 10 < end for n in numbers)
        assert max(numbers) - min(numbers) > 4


def test_a_window_that_fails_is_named(tmp_path):
    pytest.importorskip('av')
    write_numbered(tmp_path / 'vaultVideo1.mkv', [i / 10 for i in range(150)], bf='0', preset='ultrafast')
    pipeline = [dict(type='ClipInit'), dict(type='PackActionInputs')]
    dataset = FineGymDataset(TRAIN, pipeline, data_prefix=dict(video=str(tmp_path)), missing='skip', test_mode=True)
    # The pipeline fails on the first; the video ends before the second.
    with pytest.raises(ClipError, match=r'clip .*vaultVideo1\.mkv, 13\.500 s to 16\.500 s: .*Error'):
        dataset[0]
    with pytest.raises(ClipError, match=r'clip .*mkv, 17\.500 s to 18\.500 s: no frame is shown then, in a video of 1'):
        dataset[1]
