from __future__ import annotations

import argparse
import errno
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmdsts import cli
from mmdsts.datasets import video
from mmdsts.datasets.finegym import read_elements
from mmdsts.datasets.finegym_clips import cut_clip, take_stock, write_available
from mmdsts.datasets.finegym_files import FineGymFile, FineGymFiles
from mmdsts.datasets.finegym_windows import read_times
from mmdsts.errors import ClipError

from .shared_data import real_list

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / 'tests' / 'fixtures' / 'finegym' / 'train_v1.1.txt'
CLIPS = [line.split()[0] for line in FIXTURE.read_text().splitlines()]
INFO = {
    'vaultVideo1': {
        'E_000010_000042': {
            'event': 1,
            'timestamps': [[10.5, 42.25]],
            'segments': {
                'A_0003_0005': {'stages': 3, 'timestamps': [[3.0, 3.5], [3.5, 4.0], [4.0, 5.75]]},
                'A_0007_0007': {'stages': 1, 'timestamps': [[7.25, 7.75]]},
            },
        }
    },
    'beam_video-': {'E_000300_000390': {'event': 2, 'timestamps': [[300.0, 390.0]], 'segments': None}},
}


@pytest.fixture
def root(tmp_path):
    """A download: lists, and two of five clips."""
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'gym99_train_element_v1.1.txt').write_text(FIXTURE.read_text())
    (tmp_path / 'clips').mkdir()
    (tmp_path / 'clips' / f'{CLIPS[0]}.mp4').write_bytes(b'')
    for clip in CLIPS[2:4]:
        (tmp_path / 'clips' / f'{clip}.mp4').write_bytes(b'a video')
    (tmp_path / 'info.json').write_text(json.dumps(INFO))
    return tmp_path


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Stands for ffmpeg: writes its arguments into the last one, and fails for a video named bad."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    program = folder / 'ffmpeg'
    program.write_text(
        '#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n'
        'case "$*" in *bad*) echo no such stream >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')


def test_stock(root):
    stock = take_stock(str(root / 'annotations' / 'gym99_train_element_v1.1.txt'), str(root / 'clips'))
    assert [clip for clip, _ in stock.present] == CLIPS[2:4]
    assert [clip for clip, _ in stock.missing] == [CLIPS[0], CLIPS[1], CLIPS[4]]  # the first is an empty file
    assert (stock.version, stock.classes, dict(stock.clips_of_class)) == ('v1.1', 4, {2: 1, 3: 1})
    nothing = take_stock(stock.ann_file, str(root / 'clips'), readable=lambda path: False)
    assert not nothing.present
    path = write_available(stock)
    assert Path(path).name == 'gym99_train_element_v1.1_available.txt'
    assert read_elements(path) == stock.present


def test_windows_are_in_seconds_of_the_video(root):
    times = read_times(str(root / 'info.json'))
    assert {clip: FineGymFile('whole.mp4', 'video').window(clip, times) for clip in times} == {
        'vaultVideo1_E_000010_000042_A_0003_0005': (13.5, 16.25),
        'vaultVideo1_E_000010_000042_A_0007_0007': (17.75, 18.25),
    }
    event = dict(INFO['vaultVideo1']['E_000010_000042'], timestamps=[[21.0, 84.0]])
    doubled = {'vaultVideo1': {'E_000010_000042': event}}
    (root / 'info.json').write_text(json.dumps(doubled))
    assert read_times(str(root / 'info.json')) == {}  # times of twice the seconds in the names are not trusted
    (root / 'info.json').write_text('{"vaultVideo1": [1, 2]}')
    with pytest.raises(ValueError, match=r'info\.json: found another form'):
        read_times(str(root / 'info.json'))
    with pytest.raises(FileNotFoundError, match=r'none\.json is not there'):
        read_times('none.json')


def test_videos_are_found_by_the_id_with_any_usual_ending(tmp_path):
    assert FineGymFiles(str(tmp_path)).find(CLIPS[0]) is None
    (tmp_path / 'vaultVideo1.webm').write_bytes(b'a video')
    assert FineGymFiles(str(tmp_path)).find(CLIPS[0]) == (str(tmp_path / 'vaultVideo1.webm'), 'video')


def test_cutting(tmp_path, ffmpeg):
    out = tmp_path / 'clip.mp4'
    cut_clip('video.mkv', (13.5, 16.25), str(out))
    arguments = out.read_text()
    assert '-ss 13.500 -i video.mkv -t 2.750' in arguments
    assert '-abort_on empty_output' in arguments  # else a window behind the end becomes a clip without frames
    out.unlink()
    with pytest.raises(RuntimeError, match=r'1\.000 to 2\.000 s out of bad\.mkv: no such stream'):
        cut_clip('bad.mkv', (1, 2), str(out))
    assert [path.name for path in tmp_path.iterdir()] == ['bin']  # nothing half-made is left


@pytest.mark.skipif(shutil.which('ffmpeg') is None, reason='ffmpeg is not installed')
def test_cutting_really(tmp_path):
    av = pytest.importorskip('av')
    source = tmp_path / 'odd.webm'
    subprocess.run(
        ['ffmpeg', '-v', 'error', '-f', 'lavfi', '-i', 'testsrc=s=65x49:d=2:r=10', '-c:v', 'libvpx-vp9', str(source)],
        check=True,
    )
    out = tmp_path / 'clip.mp4'
    cut_clip(str(source), (0.5, 1.5), str(out))
    with av.open(str(out)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(64, 48)] * 10
    out.unlink()
    with pytest.raises(RuntimeError, match=r'5\.000 to 6\.000 s out of .*odd\.webm: \S.*\Z') as failure:
        cut_clip(str(source), (5, 6), str(out))
    assert '\n' not in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == ['odd.webm']


def test_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='ffmpeg is not installed'):
        cut_clip('video.mkv', (1, 2), str(tmp_path / 'clip.mp4'))


def tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['prepare_finegym.py', *map(str, args)])
    monkeypatch.setenv('COLUMNS', '160')
    runpy.run_path(str(ROOT / 'tools' / 'data' / 'prepare_finegym.py'), run_name='__main__')


def test_tool_checks_and_writes(root, monkeypatch, capsys):
    tool(monkeypatch, '--root', root, '--write')
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith('│ gym99_train'))
    assert [cell.strip() for cell in row.strip('│').split('│')] == [
        'gym99_train_element_v1.1.txt',
        'v1.1',
        '2 of 5',
        '2 of 4',
        '0',
        '1 of 3',
    ]
    assert 'gym99_train_element_v1.1_available.txt' in out
    assert len(read_elements(str(root / 'annotations' / 'gym99_train_element_v1.1_available.txt'))) == 2
    tool(monkeypatch, '--root', root)  # the written list is not taken for an official one
    assert capsys.readouterr().out.count('│ gym99_train') == 1


def test_tool_opens_clips(root, monkeypatch, capsys):
    whole = (ROOT / 'tests' / 'fixtures' / 'videos' / 'h264.mp4').read_bytes()
    (root / 'clips' / f'{CLIPS[2]}.mp4').write_bytes(whole)
    (root / 'clips' / f'{CLIPS[3]}.mp4').write_bytes(whole[:5000])  # OpenCV reads its first frames
    tool(monkeypatch, '--root', root, '--open', '--write')
    out = capsys.readouterr().out
    assert '│ 1 of 5 ' in out
    assert f'1 clips are there but cannot be decoded; the first: video {root}/clips/{CLIPS[3]}.mp4: the file is' in out
    path = root / 'annotations' / 'gym99_train_element_v1.1_available.txt'
    assert [clip for clip, _ in read_elements(str(path))] == [CLIPS[2]]


def test_tool_cuts_what_it_can(root, monkeypatch, capsys, ffmpeg):
    (root / 'videos').mkdir()
    (root / 'videos' / 'vaultVideo1.mp4').write_bytes(b'a long video')
    tool(monkeypatch, '--root', root, '--videos', root / 'videos', '--info', root / 'info.json')
    out = capsys.readouterr().out
    assert f'3 clips are missing; 1 have no downloaded video; cutting 2, 2 at their times in {root}/info.json' in out
    assert '-ss 17.750' in (root / 'clips' / f'{CLIPS[1]}.mp4').read_text()
    assert (root / 'clips' / f'{CLIPS[0]}.mp4').stat().st_size > 0  # the empty file was replaced


def test_tool_opens_a_clip_once_and_what_it_cuts_again(root, monkeypatch, capsys, ffmpeg):
    opened = []

    def check(path):
        opened.append(Path(path).stem)
        if Path(path).read_bytes() == b'a video' and CLIPS[3] not in path:
            raise ClipError(f'{path} is broken')

    monkeypatch.setattr(video, 'check_every_frame', check)
    (root / 'clips' / f'{CLIPS[1]}.mp4').write_bytes(b'a video')
    (root / 'videos').mkdir()
    (root / 'videos' / 'vaultVideo1.mp4').write_bytes(b'a long video')
    tool(monkeypatch, '--root', root, '--open', '--videos', root / 'videos', '--info', root / 'info.json')
    assert sorted(opened[:3]) == sorted(CLIPS[1:4])
    assert sorted(opened[3:]) == sorted(CLIPS[:2])
    out = capsys.readouterr().out
    assert f'1 clips are there but cannot be decoded; the first: {root}/clips/{CLIPS[2]}.mp4 is broken' in out
    assert '│ 3 of 5 ' in out


def test_tool_without_lists(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        tool(monkeypatch, '--root', tmp_path)
    assert 'has no list gym*_element*.txt' in capsys.readouterr().err


def test_real_temporal_annotation():
    times = read_times(real_list('finegym', 'derived_annotation_info_subset_from_spot.json'))
    elements = dict(read_elements(real_list('finegym', 'gym99_val_element.txt')))
    common = sorted(times.keys() & elements.keys())
    assert len(common) > 1000  # of these lists 3,666 are in both, and 231 have times that contradict their names
    for clip in common:
        start, end = FineGymFile('whole.mp4', 'video').window(clip, times)
        event, first, last = int(clip[14:20]), int(clip[30:34]), int(clip[35:39])
        # Names hold whole seconds, of the video and of the event.
        assert 0 <= start - event - first < 2
        assert 0 <= end - event - last < 2
        assert start < end


def add_lists(root):
    """A second list and the names of classes and sets."""
    fixtures = FIXTURE.parent
    lists = root / 'annotations'
    (lists / 'gym99_categories.txt').write_text((fixtures / 'categories.txt').read_text())
    (lists / 'set_categories.txt').write_text((fixtures / 'sets.txt').read_text())
    (lists / 'gym99_val_element.txt').write_text(
        f'{CLIPS[0][:11]}_E_000100_000142_A_0003_0005 0\notherVideo0_E_000000_000002_A_0000_0001 3\n'
    )


def test_tool_covers_sets_and_classes_and_says_what_next(root, monkeypatch, capsys):
    add_lists(root)
    (root / 'clips' / 'vaultVideo1.webm').write_bytes(b'a whole video')
    tool(monkeypatch, '--root', root, '--write')
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip('│').split('│')] for line in out.splitlines() if line.startswith('│')]
    assert ['vault', '2 of 3', '1 of 1'] in rows
    assert ['BB_turns', '2 of 2', '0 of 1'] in rows
    assert 'gym99_val_element.txt: no clip of (BB) 2 turn in tuck stand; free leg optional\n' in out
    assert 'Elements: 2 in clips of their own, 3 as windows of whole videos; temporal annotation: none' in out
    shared = 'gym99_train_element_v1.1.txt and gym99_val_element.txt share 1 source videos, from which 1 of 2 clips'
    assert shared in out
    assert out.endswith(
        f'Next: python tools/train.py configs/dsts_finegym.py --cfg-options data_root={root}/\n'
    )  # which reads ROOT/clips
    coverage = (root / 'annotations' / 'coverage.csv').read_text().splitlines()
    assert coverage[0] == 'list,label,set,class,clips,of'
    assert 'gym99_val_element.txt,3,32,(BB) 2 turn in tuck stand; free leg optional,0,1' in coverage
    assert len(coverage) == 1 + 4 + 2
    names = (root / 'annotations' / 'gym99_label_map.txt').read_text().splitlines()
    assert names[0] == '(VT) round-off, salto forward tucked'
    assert len(read_elements(str(root / 'annotations' / 'gym99_val_element_available.txt'))) == 1


def test_the_next_command_names_the_folder_with_the_most(root, tmp_path_factory, monkeypatch, capsys):
    def next_line(*args):
        tool(monkeypatch, *args)
        return capsys.readouterr().out.partition('Next: ')[2]

    other = tmp_path_factory.mktemp('downloads')
    (other / 'vaultVideo1.mkv').write_bytes(b'a whole video')
    assert next_line('--root', root, '--videos', other).splitlines() == [
        f'python tools/train.py configs/dsts_finegym.py --cfg-options data_root={root}/',
        '(2 elements are elsewhere: a run reads one folder and those in it.)',
    ]
    (root / 'videos').mkdir()
    (root / 'videos' / 'vaultVideo1.mkv').write_bytes(b'a whole video')
    assert next_line('--root', root).endswith(f' data_root={root}/ clips={root}\n')
    for clip in CLIPS[2:4]:
        (root / 'clips' / f'{clip}.mp4').unlink()
    assert next_line('--root', root).endswith(f' clips={root}/videos\n')
    (root / 'videos' / 'vaultVideo1.mkv').unlink()
    tool(monkeypatch, '--root', root)
    assert 'Nothing is there yet. Download videos' in capsys.readouterr().out


def test_tool_refuses_labels_without_a_class(root, monkeypatch, capsys):
    add_lists(root)
    (root / 'annotations' / 'gym99_val_element.txt').write_text(f'{CLIPS[0]} 4\n')
    with pytest.raises(SystemExit) as stop:
        tool(monkeypatch, '--root', root, '--write')
    assert stop.value.code == 2
    assert 'gym99_val_element.txt has label 4, expected 0 to 3, as' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('name', ['my videos', '2024'])
def test_the_next_command_can_be_typed(root, monkeypatch, capsys, name):
    monkeypatch.chdir(root)
    (root / name).mkdir()
    for source in ('vaultVideo1', 'beam_video-'):
        (root / name / f'{source}.mkv').write_bytes(b'a whole video')
    (root / 'empty').mkdir()
    (root / 'annotations').rename(root / 'empty' / 'annotations')
    tool(monkeypatch, '--root', 'empty', '--videos', name)
    command = shlex.split(capsys.readouterr().out.partition('Next: ')[2])
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=cli.CfgOptions)
    options = parser.parse_known_args(command)[0].cfg_options
    assert os.path.samefile(options['clips'], root / name)


def test_tool_cuts_at_whole_seconds_without_times(root, monkeypatch, capsys, ffmpeg):
    (root / 'videos').mkdir()
    (root / 'videos' / 'vaultVideo1.mp4').write_bytes(b'a long video')
    (root / 'vaultVideo1_E_000010_000042.mkv').write_bytes(b'an event')
    tool(monkeypatch, '--root', root, '--cut')
    assert 'cutting 2, 0 at their times in no file, 2 at the whole seconds of their names' in capsys.readouterr().out
    assert (
        f'-ss 7.000 -i {root}/vaultVideo1_E_000010_000042.mkv -t 1.000'
        in (root / 'clips' / f'{CLIPS[1]}.mp4').read_text()
    )
    tool(monkeypatch, '--root', root, '--cut')  # what was cut is not cut again
    assert 'cutting 0' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--jobs', '0'], 'argument --jobs: 0 is not a positive number'),
        (['--info', 'none.json'], 'argument --info: none.json: no such file'),
        (['--videos', 'nowhere'], 'argument --videos: nowhere: no such folder'),
        (['--cut'], 'ffmpeg is not installed'),
    ],
)
def test_tool_refuses_in_one_line(root, monkeypatch, capsys, args, message):
    monkeypatch.setenv('PATH', str(root))
    with pytest.raises(SystemExit) as stop:
        tool(monkeypatch, '--root', root, *args)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(('option', 'folder'), [('--write', 'annotations'), ('--cut', 'clips')])
def test_tool_says_at_once_where_it_cannot_write(root, monkeypatch, capsys, ffmpeg, option, folder):
    def refuse(dir):
        raise PermissionError(errno.EACCES, 'Permission denied', dir)

    monkeypatch.setattr(cli.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(SystemExit) as stop:
        tool(monkeypatch, '--root', root, option)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'prepare_finegym.py: error: folder {root}/{folder}: cannot be written to (Permission denied). '
        'Give another one with --root'
    )


def test_an_interruption_ends_the_work_soon(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['prepare_finegym.py'])
    side_by_side = runpy.run_path(str(ROOT / 'tools' / 'data' / 'prepare_finegym.py'))['side_by_side']
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, list(range(1000)), 1, 'working')
    assert len(begun) < 1000
    assert side_by_side(str, [3, 1, 2], 2, 'working') == ['3', '1', '2']
