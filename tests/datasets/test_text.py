"""Encodings of annotation files, in every reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmaction.registry import DATASETS
from mmengine.fileio import list_from_file

from mmdsts.analysis.demo import _read_names
from mmdsts.cli import UsageError
from mmdsts.datasets.diving48 import read_vocabulary
from mmdsts.datasets.finegym import read_categories, read_elements, read_sets
from mmdsts.datasets.finegym_windows import read_times
from mmdsts.datasets.text import read_lines, read_text

CLIP = 'vaultVideo1_E_000010_000042_A_0003_0005'
ENCODINGS = ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32']
VOCABULARY = [['Bäck', '15som', '05Twis', 'FREE']] * 48
WINDOWS = {
    'vaultVideo1': {
        'E_000010_000042': {'timestamps': [[10.5, 42.25]], 'segments': {'A_0003_0005': {'timestamps': [[3.0, 5.75]]}}}
    }
}
READERS = {
    'list': (read_elements, f'{CLIP} 7\r\n', [(CLIP, 7)]),
    'categories': (read_categories, 'Clabel: 0; set: 1; Glabel: 1; sälto\r\n', (['sälto'], [1])),
    'sets': (read_sets, 'set: 1; vült\r\n', {1: 'vült'}),
    'vocabulary': (read_vocabulary, json.dumps(VOCABULARY, ensure_ascii=False), ['Bäck, 15som, 05Twis, FREE'] * 48),
    'windows': (read_times, json.dumps(WINDOWS), {CLIP: (10.5, 3.0, 5.75)}),
    'names': (_read_names, 'sprüng\r\ntwist\r\n', ['sprüng', 'twist']),
}


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('reader', READERS)
def test_what_can_be_read_is_read(tmp_path, reader, encoding):
    read, text, expected = READERS[reader]
    path = tmp_path / ('file.json' if text[0] in '[{' else 'file.txt')
    path.write_bytes(text.encode(encoding))
    assert read(str(path)) == expected


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('kind', ['VideoDataset', 'RawframeDataset'])
def test_data_sets_of_mmaction2_read_them_too(tmp_path, kind, encoding):
    (tmp_path / 'list.txt').write_bytes('sprüng 9 1\r\n'.replace(' 9', ' 9' * (kind[0] == 'R')).encode(encoding))
    dataset = DATASETS.build(dict(type=kind, ann_file=str(tmp_path / 'list.txt'), pipeline=[]))
    info = dataset.get_data_info(0)
    assert (info.get('filename') or info['frame_dir'], info['label']) == ('sprüng', 1)


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_only_newlines_end_a_line(tmp_path, end):
    names = ['a\u2028b', 'a\x0cb\x1cc', 'a\x85b', '']
    (tmp_path / 'list.txt').write_bytes(''.join(f'{name} 1{end}' for name in names).encode())
    expected = [f'{name} 1' for name in names]
    assert read_lines(str(tmp_path / 'list.txt')) == list_from_file(str(tmp_path / 'list.txt')) == expected


def test_a_name_with_a_line_separator_is_one_clip(tmp_path):
    (tmp_path / 'list.txt').write_text('a\u2028b 1\n', encoding='utf-8')
    dataset = DATASETS.build(dict(type='VideoDataset', ann_file=str(tmp_path / 'list.txt'), pipeline=[], delimiter=' '))
    assert [dataset.get_data_info(i)['filename'] for i in range(len(dataset))] == ['a\u2028b']
    with pytest.raises(ValueError, match=r"line 1: found 'a\\u2028b 1'"):
        read_elements(str(tmp_path / 'list.txt'))


@pytest.mark.parametrize('reader', READERS)
def test_what_cannot_be_read_is_named_with_its_encoding(tmp_path, reader):
    read, text, _ = READERS[reader]
    path = tmp_path / ('file.json' if text[0] in '[{' else 'file.txt')
    path.write_bytes(b'\n' + text.replace('1', 'é').encode('latin-1'))
    with pytest.raises((ValueError, UsageError), match=r'file\.\w+, line \d+: the bytes .* are not UTF-8; save the'):
        read(str(path))


def test_the_line_of_the_bad_bytes(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes('erst ä\nzweit'.encode() + b'\xe9\n')
    with pytest.raises(ValueError, match=r"list\.txt, line 2: the bytes b'\\xe9\\n' are not UTF-8"):
        read_text(str(path))
    path.write_bytes('a\nb'.encode('utf-16')[:-1])
    with pytest.raises(ValueError, match=r'list\.txt, line 2: .* are not UTF-16'):
        read_text(str(path))


def test_an_empty_file_is_empty_text(tmp_path):
    Path(tmp_path / 'empty').touch()
    assert read_text(str(tmp_path / 'empty')) == ''
