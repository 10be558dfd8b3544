from __future__ import annotations

import builtins
from pathlib import Path

import pytest

from mmdsts.datasets.decoding import AvReader, DecordWindow, choice, open_instead, open_window
from mmdsts.errors import ClipError

from .numbered import number

VIDEOS = Path(__file__).parents[2] / 'fixtures' / 'videos'


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(choice, 'print_log', lambda text, *args, **kwargs: lines.append(text))
    monkeypatch.setattr(choice, '_said', set())
    return lines


@pytest.fixture
def without(monkeypatch):
    """A function after which a package is not installed."""
    found = builtins.__import__

    def hide(package):
        def look(name, *args, **kwargs):
            if name.split('.')[0] == package:
                raise ModuleNotFoundError(f'No module named {package!r}')
            return found(name, *args, **kwargs)

        monkeypatch.setattr(builtins, '__import__', look)

    return hide


def test_windows_are_read_with_pyav(numbered, log):
    reader = open_window(numbered['open groups of pictures, mkv'], 1, 1.5)
    assert isinstance(reader, AvReader)
    assert number(reader.get_batch([0])[0]) == 25
    assert log == []


def test_windows_without_pyav(numbered, log, without):
    pytest.importorskip('decord')
    without('av')
    for _ in range(2):
        reader = open_window(numbered['B-frames, mp4'], 1, 1.5)
    assert isinstance(reader, DecordWindow)
    assert number(reader.get_batch([0])[0]) == 25
    assert len(log) == 1
    assert 'pip install av' in log[0]


def test_windows_without_a_frame(numbered):
    path = numbered['B-frames, mp4']
    with pytest.raises(
        ClipError, match=r'clip .*mp4, 60\.000 s to 61\.500 s: no frame is shown then, in a video of 4\.'
    ):
        open_window(path, 60, 61.5)
    with pytest.raises(ClipError, match=r'60\.000 s to the end: no frame'):
        open_window(path, 60, None)


def test_pyav_instead_of_decord(log):
    pytest.importorskip('av')
    path = str(VIDEOS / 'av1.mp4')
    for _ in range(2):
        assert len(open_instead(path, RuntimeError('no such codec'))) == 5
    assert log == [f'decord cannot decode {path}, PyAV does']
    assert choice.is_said(path)


def test_without_either_the_error_is_decords(log, without, tmp_path):
    path = str(VIDEOS / 'av1.mp4')
    error = RuntimeError('no such codec')
    whole = (VIDEOS / 'h264.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[:-100])  # what there is of it must not pass for the whole
    (tmp_path / 'page.mp4').write_bytes(b'<html>not found</html>')
    for name in ('cut.mp4', 'page.mp4', 'none.mp4'):
        with pytest.raises(RuntimeError, match='no such codec'):
            open_instead(str(tmp_path / name), error)
    without('av')
    with pytest.raises(RuntimeError, match='no such codec'):
        open_instead(path, error)
    assert log == []


def test_a_file_that_either_decodes_is_good(log, without, tmp_path):
    pytest.importorskip('decord')
    pytest.importorskip('av')
    for name in ('h264.mp4', 'av1.mp4', 'no_duration.webm'):
        choice.check_with_either(str(VIDEOS / name))
    (tmp_path / 'cut.mp4').write_bytes((VIDEOS / 'h264.mp4').read_bytes()[:-100])
    with pytest.raises(ClipError, match='the file is incomplete'):
        choice.check_with_either(str(tmp_path / 'cut.mp4'))
    without('av')
    with pytest.raises(ClipError, match='AV1'):
        choice.check_with_either(str(VIDEOS / 'av1.mp4'))
