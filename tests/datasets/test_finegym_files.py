from __future__ import annotations

import errno
import os

import pytest

from mmdsts.datasets import finegym_files
from mmdsts.datasets.finegym_files import FineGymFile, FineGymFiles, count_kinds
from mmdsts.datasets.finegym_windows import ElementTime

VIDEO = '-Abc_efGHI0'
EVENT = f'{VIDEO}_E_000010_000042'
CLIP = f'{EVENT}_A_0003_0005'


def put(folder, *names, content=b'a video'):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def find(folder, **kwargs):
    file = FineGymFiles(str(folder), **kwargs).find(CLIP)
    return file and (os.path.relpath(file.path, folder), file.kind)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        (f'{CLIP}.mp4', 'clip'),
        (f'subactions/{CLIP}.webm', 'clip'),
        (f'{VIDEO}/E_000010_000042/A_0003_0005.mkv', 'clip'),
        (f'{EVENT}/A_0003_0005.MP4', 'clip'),
        (f'events/{EVENT}.mkv', 'event'),
        (f'{VIDEO}/E_000010_000042.mp4', 'event'),
        (f'{VIDEO}.webm', 'video'),
        (f'a/b/c/{VIDEO}.mp4', 'video'),
        (f'Some title [{VIDEO}].mkv', 'video'),
        (f'Some title-{VIDEO}.mkv', 'video'),
        (f'{VIDEO}.1080p.mp4', 'video'),
        (f'{VIDEO} finals of a competition.mp4', 'video'),  # whose last word is as long as an id
        (f'{VIDEO}/video.mp4', 'video'),
    ],
)
def test_usual_names(tmp_path, name, kind):
    put(tmp_path, name)
    assert find(tmp_path) == (name, kind)


@pytest.mark.parametrize(
    'name',
    [
        f'{VIDEO}.mp4.part',
        f'{VIDEO}.f137.mp4',  # pictures or sound alone, before they are joined
        f'{VIDEO}.temp.mp4',
        f'{VIDEO}.txt',
        f'{CLIP}.mp4.part.mp4',  # an interrupted cut
        f'{VIDEO}_E_000010_000043.mp4',
        f'{EVENT}_A_0003_0006.mp4',
        f'x{VIDEO}.mp4',
        f'{VIDEO}/{CLIP}.mp4.part.mp4',
        f'{VIDEO}/E_000010_000042 (1).mp4',
    ],
)
def test_other_names(tmp_path, name):
    put(tmp_path, name)
    assert find(tmp_path) is None


def test_an_id_that_looks_like_the_name_of_an_event(tmp_path):
    put(tmp_path, 'Some title [ab_E_cdefgh].mp4')
    assert FineGymFiles(str(tmp_path)).find(f'ab_E_cdefgh{CLIP[11:]}').kind == 'video'


def test_what_is_taken_first(tmp_path):
    put(tmp_path, f'z/{VIDEO}/whole.mp4')
    assert find(tmp_path)[0] == f'z/{VIDEO}/whole.mp4'
    put(tmp_path, f'{VIDEO}.webm')
    assert find(tmp_path)[0] == f'{VIDEO}.webm'
    put(tmp_path, f'{VIDEO}.mkv')
    assert find(tmp_path)[0] == f'{VIDEO}.mkv'
    assert find(tmp_path, suffix='.webm')[0] == f'{VIDEO}.webm'
    put(tmp_path, f'{EVENT}.webm')
    assert find(tmp_path) == (f'{EVENT}.webm', 'event')
    put(tmp_path, f'{CLIP}.mp4', content=b'')  # an interrupted download
    assert find(tmp_path)[1] == 'event'
    put(tmp_path, f'a/b/{CLIP}.avi')
    assert find(tmp_path, suffix='.avi') == (f'a/b/{CLIP}.avi', 'clip')


def test_folders_that_are_links(tmp_path):
    put(tmp_path / 'disk', f'{VIDEO}.mp4')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'videos').symlink_to(tmp_path / 'disk')
    (tmp_path / 'disk' / 'round').symlink_to(tmp_path / 'root')
    assert find(tmp_path / 'root') == (f'videos/{VIDEO}.mp4', 'video')


def test_a_folder_of_two_names(tmp_path):
    # By the one that is looked into first, its video has no id.
    put(tmp_path, 'downloads/1/video.mkv')
    ids = [f'abcdefghij{i}' for i in range(3)]
    for name in ids:
        (tmp_path / name).symlink_to(tmp_path / 'downloads' / '1')
    files = FineGymFiles(str(tmp_path))
    assert [os.path.relpath(files.find(name + CLIP[11:]).path, tmp_path) for name in ids] == [
        f'{name}/video.mkv' for name in ids
    ]


def test_a_link_to_itself(tmp_path):
    (tmp_path / 'itself').symlink_to('itself')
    put(tmp_path, f'{VIDEO}.mp4')
    assert find(tmp_path) == (f'{VIDEO}.mp4', 'video')


def test_a_folder_that_must_not_be_read(tmp_path, monkeypatch):
    put(tmp_path, f'{VIDEO}.mp4', 'lost+found/x.mp4')
    scandir, lines = os.scandir, []

    def refuse(path):
        if str(path).endswith('lost+found'):
            raise PermissionError(errno.EACCES, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    monkeypatch.setattr(finegym_files, 'print_log', lambda text, **kwargs: lines.append(text))
    assert find(tmp_path) == (f'{VIDEO}.mp4', 'video')
    assert lines == [f'{tmp_path}/lost+found: Permission denied; not looked into']


def test_windows():
    times = {CLIP: ElementTime(10.5, 3.25, 5.75)}
    other = f'{EVENT}_A_0007_0007'
    clip, event, video = (FineGymFile('path', kind) for kind in ('clip', 'event', 'video'))
    assert clip.window(CLIP, times) is None
    assert event.window(CLIP, times) == (3.25, 5.75)
    assert video.window(CLIP, times) == (13.75, 16.25)
    # By the name alone: the event from second 10 on, the element in its second 7.
    assert event.window(other, times) == (7, 8)
    assert video.window(other, times) == (17.5, 18.5)
    assert count_kinds([clip, video, video]) == '1 in clips of their own, 2 as windows of whole videos'
