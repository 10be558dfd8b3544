"""Files whose end is missing: what a container says of its own length, against how long the file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmdsts.datasets.completeness import missing_bytes
from mmdsts.datasets.decoding import AvReader
from mmdsts.errors import ClipError

from .decoding.numbered import write_numbered

VIDEOS = Path(__file__).parents[1] / 'fixtures' / 'videos'


def test_missing_bytes_of_long_and_open_boxes(tmp_path):
    path = tmp_path / 'boxes.mp4'
    start = b'\0\0\0\x10ftypisom\0\0\0\0'
    long = b'\0\0\0\x01mdat' + (16 + 6).to_bytes(8, 'big')
    for content, missing in [
        (start + long + b'frames', 0),
        (start + long + b'fra', 3),
        (start + long[:9], 0),
        (start + b'\0\0\0\0mdat' + b'frames', 0),  # to the end of the file
        (start + b'\xff' * 12, 0),  # no box
        (start[:5], 0),
    ]:
        path.write_bytes(content)
        assert missing_bytes(str(path)) == missing, content


@pytest.mark.parametrize('suffix', ['mkv', 'avi', 'mov'])
def test_a_cut_file_is_told_from_a_short_one(tmp_path, suffix):
    """FFmpeg gives the frames that are there, of these kinds, too, and says nothing."""
    path = tmp_path / f'whole.{suffix}'
    write_numbered(str(path), np.arange(50) / 25, bf='0')
    whole = path.read_bytes()
    assert missing_bytes(str(path)) == 0
    assert len(AvReader(str(path), end=9)) == 50
    cut = tmp_path / f'cut.{suffix}'
    for length in (len(whole) // 2, len(whole) - 100):
        cut.write_bytes(whole[:length])
        # Of an mp4 or mov that ends inside a box, the boxes behind it are not known of.
        assert 0 < missing_bytes(str(cut)) <= len(whole) - length
        assert suffix == 'mov' or missing_bytes(str(cut)) == len(whole) - length
    with pytest.raises(ClipError, match='the file is incomplete, its last 100 bytes are missing'):
        AvReader(str(cut), 0.4, 9)


def test_matroska_and_riff_as_written_by_others(tmp_path):
    path = tmp_path / 'made'
    header = b'\x1a\x45\xdf\xa3\x83abc'
    for content, missing in [
        (header + b'\x18\x53\x80\x67\x85hello', 0),
        (header + b'\x18\x53\x80\x67\x85hel', 2),
        (header + b'\x18\x53\x80\x67\x40\x05hell', 1),  # a size in two bytes
        (header + b'\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xffhello', 0),  # unknown, as of a live recording
        (header + b'\x18\x53\x80\x67', 0),
        (header + b'other', 0),
        (header[:5], 0),
        (b'RIFF\x24\0\0\0' + b'a' * 20, 16),
        (b'RIFF\x1c\0\0\0' + b'a' * 20, 0),  # that of the file, not what follows the header
        (b'RIFF\x05\0\0\0AVI a\0RIFF\x14\0\0\0AVIX' + b'a' * 2, 14),  # a second chunk, behind a filling byte
        (b'RIFF\0\0\0\0' + b'a' * 20, 0),  # never closed
        (b'RIFF\x04\0\0\0AVI junk behind it', 0),
    ]:
        path.write_bytes(content)
        assert missing_bytes(str(path)) == missing, content
    assert missing_bytes(str(VIDEOS / 'no_duration.webm')) == 0
