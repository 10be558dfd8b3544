from __future__ import annotations

import pytest
from mmaction.registry import DATASETS

from mmdsts.datasets.clip_table import TableClip, parse_table, read_label_map, read_table, write_table


def read(folder, text, name='clips.csv', encoding='utf-8'):
    (folder / name).write_bytes(text.encode(encoding))
    return read_table(str(folder / name))


@pytest.mark.parametrize('separator', [',', ';', '\t'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_spreadsheets_write_tables_in_many_ways(tmp_path, separator, encoding):
    text = 'Group,Path,LABEL,start,end,remark\r\nm1,"a b/ü.mp4",serve,1.5,3,x\r\n\r\n,c.mp4,volley,,,\r\n'
    if separator != ',':
        text = text.replace(',', separator)
    clips = read(tmp_path, text, encoding=encoding)
    assert clips == [
        TableClip('a b/ü.mp4', 'serve', 1.5, 3.0, 'm1', None, 2),
        TableClip('c.mp4', 'volley', None, None, None, None, 4),
    ]


@pytest.mark.parametrize(
    ('text', 'clip'),
    [
        ('a.mp4,serve', TableClip('a.mp4', 'serve', line=1)),
        ('a.mp4,serve,m1', TableClip('a.mp4', 'serve', group='m1', line=1)),
        ('a.mp4,serve,1,2', TableClip('a.mp4', 'serve', 1.0, 2.0, line=1)),
        ('a.mp4;serve;1,5;2,5;m1', TableClip('a.mp4', 'serve', 1.5, 2.5, 'm1', line=1)),
        ('File,class,Player\na.mp4,serve,m1', TableClip('a.mp4', 'serve', group='m1', line=2)),
        ('path,label,person,camera\na.mp4,serve,p,c', TableClip('a.mp4', 'serve', line=2)),
        ('path,label,split\na.mp4,serve,Validation', TableClip('a.mp4', 'serve', split='val', line=2)),
    ],
)
def test_tables_without_a_head_and_with_a_split(tmp_path, text, clip):
    assert read(tmp_path, text) == [clip]


def test_lists_of_mmaction2(tmp_path):
    clips = read(tmp_path, 'a.mp4 0\nb c.mp4 12\n', 'train.txt')
    assert clips == [TableClip('a.mp4', '0', line=1), TableClip('b c.mp4', '12', line=2)]
    assert not parse_table(str(tmp_path / 'train.txt')).separated


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('path,label\na.mp4,', "clips.csv, line 2: found 'a.mp4', expected a path and a label"),
        ('path,group\na.mp4,b', "line 1: found the columns 'path,group', expected also label"),
        ('path,label\nmy, a.mp4,serve', "line 2: found 3 cells under 2 columns; quote what has a ',' in it"),
        ('a.mp4,x,one,2', "line 1: start is 'one', expected seconds of the video, such as 12.5"),
        ('a.mp4,x,2,nan', "line 1: end is 'nan', expected seconds"),
        ('a.mp4,x,3,2', 'line 1: its window goes from 3 to 2 s, which ends before it starts'),
        ('path,label,split\na.mp4,x,dev', "line 2: split is 'dev', expected train, val or test"),
        ('path,label\n', 'has no clip'),
        ('', 'has no clip'),
    ],
)
def test_a_line_that_is_no_clip_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_what_is_written_is_read_again(tmp_path):
    clips = [TableClip('a, b.mp4', 'x', 12345.678, 12346.0, 'm'), TableClip('c.mp4', 'y')]
    write_table(str(tmp_path / 'out.csv'), clips)
    assert (tmp_path / 'out.csv').read_text().splitlines()[0] == 'path,label,start,end,group'
    assert [clip._replace(line=0) for clip in read_table(str(tmp_path / 'out.csv'))] == clips


def test_a_class_is_named_once(tmp_path):
    (tmp_path / 'label_map.txt').write_text('serve\nvolley\n\n')
    assert read_label_map(str(tmp_path / 'label_map.txt')) == ['serve', 'volley']
    (tmp_path / 'label_map.txt').write_text('serve\nserve\n')
    with pytest.raises(ValueError, match="the class 'serve' is there twice"):
        read_label_map(str(tmp_path / 'label_map.txt'))


# --- the data set ----------------------------------------------------------------------------------------------------


def dataset(folder, text, **options):
    (folder / 'clips.csv').write_text(text)
    (folder / 'label_map.txt').write_text('serve\nvolley\n')
    for name in ('a b.mp4', 'c.mp4'):
        (folder / name).write_bytes(b'video')
    options = dict(dict(classes_file='label_map.txt'), **options)
    return DATASETS.build(
        dict(type='VideoTableDataset', ann_file='clips.csv', data_root=str(folder), pipeline=[], **options)
    )


def test_clips_and_windows_by_name_or_number(tmp_path):
    made = dataset(tmp_path, 'path,label,start,end\na b.mp4,volley,,\nc.mp4,0,,2.5\n')
    assert made.metainfo['classes'] == ['serve', 'volley']
    infos = [made.get_data_info(i) for i in range(2)]
    assert [info['label'] for info in infos] == [1, 0]
    assert infos[0]['filename'] == str(tmp_path / 'a b.mp4')
    assert 'start' not in infos[0]
    assert (infos[1]['start'], infos[1]['end']) == (0.0, 2.5)
    assert made.get_cat_ids(0) == [1]


@pytest.mark.parametrize(
    ('text', 'options', 'error', 'message'),
    [
        ('c.mp4,smash', {}, ValueError, "line 1: the label 'smash' is no class; expected one of 2: serve, volley"),
        ('c.mp4,2', {}, ValueError, "the label '2' is no class"),
        ('c.mp4,serve', dict(classes_file=None), ValueError, 'expected a number, or names of classes in classes_file'),
        ('d.mp4,serve', {}, FileNotFoundError, '1 of 1 clips are not there, such as .*d.mp4; set data_prefix'),
    ],
)
def test_a_clip_needs_a_class_and_a_file(tmp_path, text, options, error, message):
    with pytest.raises(error, match=message):
        dataset(tmp_path, text, **options)
