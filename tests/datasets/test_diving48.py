from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmaction.registry import DATASETS

from mmdsts.datasets import Diving48Dataset
from mmdsts.datasets import availability as availability_module
from mmdsts.datasets import diving48 as diving48_module
from mmdsts.datasets.diving48 import annotation_version, read_vocabulary

from .shared_data import real_list

TRAIN = Path(__file__).parents[1] / 'fixtures' / 'diving48' / 'Diving48_V2_train.json'
ENTRIES = json.loads(TRAIN.read_text())


@pytest.fixture
def videos(tmp_path):
    for entry in ENTRIES:
        (tmp_path / f'{entry["vid_name"]}.mp4').write_bytes(b'a video')
    return tmp_path


@pytest.fixture
def log(monkeypatch):
    lines = []
    for module in (diving48_module, availability_module):
        monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: lines.append(text))
    return lines


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / 'vocabulary.json'
    path.write_text(json.dumps([['Back', f'{i:02d}som', 'NoTwis', 'PIKE'] for i in range(48)]))
    return str(path)


def build(videos, ann_file=TRAIN, **kwargs):
    return Diving48Dataset(str(ann_file), [], data_prefix=dict(video=str(videos)), **kwargs)


def test_reads_clips_labels_frames_and_names(videos, vocabulary, log):
    dataset = DATASETS.build(
        dict(
            type='Diving48Dataset',
            ann_file=str(TRAIN),
            data_prefix=dict(video=str(videos)),
            pipeline=[],
            vocabulary_file=vocabulary,
        )
    )
    assert len(dataset) == 3
    info = dataset.get_data_info(2)
    assert info['filename'] == str(videos / 'madeUpDive2_00001.mp4')
    assert (info['label'], info['start_frame'], info['end_frame']) == (0, 5, 90)
    assert dataset.metainfo['classes'][47] == 'Back, 47som, NoTwis, PIKE'
    assert dataset.metainfo['annotation_version'] == 'V2'
    assert 'version V2, 3 clips of 2 classes' in log[0]


@pytest.mark.parametrize(
    ('name', 'entries', 'version'),
    [
        ('Diving48_V2_train.json', 15027, 'V2'),
        ('renamed.json', 1970, 'V2'),
        ('Diving48_V2_test.json', 3, 'V2'),
        ('Diving48_train.json', 9, 'V1'),
        ('Diving48_test.json', 9, 'V1'),
        ('diving48_v1.json', 9, 'V1'),
        ('mine.json', 9, 'unknown'),
        ('mine_V12.json', 9, 'unknown'),
    ],
)
def test_version(name, entries, version):
    assert annotation_version(f'lists/{name}', entries) == version


def test_v1_warns(videos, log):
    path = videos / 'Diving48_train.json'
    path.write_text(TRAIN.read_text())
    build(videos, path)
    assert 'labels of V1 are known to be wrong' in log[1]
    log.clear()
    build(videos)
    assert not any('V1' in line for line in log)


def test_missing_clips(videos, log):
    (videos / 'madeUpDive1_00002.mp4').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 3 clips are missing .*madeUpDive1_00002'):
        build(videos)
    assert len(build(videos, missing='skip')) == 2
    assert 'the 2 others, of 1 of 2 classes' in log[-1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(label='3'), r"entry 1: found .*'label': '3'.*expected \{'vid_name'"),
        (dict(end_frame=None), 'entry 1: found .*expected'),
        (dict(label=48), 'entry 1: madeUpDive1_00002 has label 48, expected 0 to 47'),
        (dict(start_frame=70), 'entry 1: madeUpDive1_00002 goes from frame 70 to 70'),
        (dict(vid_name='madeUpDive1_00001'), 'has label 0 and, further down, 47'),
    ],
)
def test_malformed_entries(videos, change, message):
    entries = [dict(entry) for entry in ENTRIES]
    entries[1].update(change)
    path = videos / 'list.json'
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message):
        build(videos, path)


def test_files_of_another_kind(tmp_path):
    path = tmp_path / 'list.json'
    with pytest.raises(FileNotFoundError, match=r'list\.json is not there'):
        build(tmp_path, path)
    path.write_text('a.mp4 3')
    with pytest.raises(ValueError, match=r'list\.json is no JSON file'):
        build(tmp_path, path)
    path.write_text('{}')
    with pytest.raises(ValueError, match=r'list\.json: expected a list of entries'):
        build(tmp_path, path)


def test_malformed_vocabulary(tmp_path):
    path = tmp_path / 'vocabulary.json'
    path.write_text('[["Back", "15som", "05Twis", "FREE"]]')
    with pytest.raises(ValueError, match='found a list of 1, expected a list of 48 dives'):
        read_vocabulary(str(path))
    path.write_text(json.dumps([['Back', '15som', '05Twis', 'FREE']] * 47 + [['Back', '15som']]))
    with pytest.raises(ValueError, match=r"entry 47: found \['Back', '15som'\], expected four words"):
        read_vocabulary(str(path))


@pytest.mark.parametrize(('part', 'entries'), [('train', 15027), ('test', 1970)])
def test_published_lists(part, entries, tmp_path, log):
    ann_file = real_list('diving48', f'Diving48_V2_{part}.json')
    name = json.loads(Path(ann_file).read_text())[0]['vid_name']
    (tmp_path / f'{name}.mp4').write_bytes(b'a video')
    dataset = build(tmp_path, ann_file, missing='skip', vocabulary_file=real_list('diving48', 'Diving48_vocab.json'))
    assert len(set(dataset.metainfo['classes'])) == 48
    assert f'version V2, {entries} clips of 47 classes' in log[0]
    assert f'{entries - 1} of {entries} clips are missing' in log[1]
