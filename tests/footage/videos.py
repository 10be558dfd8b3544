"""Made-up videos, and broken ones."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

FIXTURES = Path(__file__).parents[1] / 'fixtures' / 'videos'


def write_video(path, seed=0, frames=10, size=(64, 64), rate=10, codec='libx264', container=None, rotation=0):
    """A picture that moves to the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    with av.open(str(path), 'w', format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p' if not (size[0] % 2 or size[1] % 2) else 'yuv444p'
        if rotation:
            stream.set_display_rotation(rotation)
        for i in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 3 * i, axis=1), format='rgb24')):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def write_sound(path):
    """A file without pictures."""
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('aac', rate=44100)
        for i in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format='fltp', layout='stereo')
            frame.sample_rate, frame.pts = 44100, 1024 * i
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def write_broken(folder):
    """A file of each kind that is found; its name to the kinds."""
    whole = (FIXTURES / 'h264.mp4').read_bytes()
    (folder / 'cut.mp4').write_bytes(whole[:-500])
    start = whole.index(b'mdat') + 2504
    (folder / 'zeros.mp4').write_bytes(whole[:start] + bytes(400) + whole[start + 400 :])
    (folder / 'empty.mp4').write_bytes(b'')
    (folder / 'page.mp4').write_bytes(b'<html>not found</html>')
    (folder / 'av1.mp4').write_bytes((FIXTURES / 'av1.mp4').read_bytes())
    write_sound(folder / 'sound.mp4')
    write_video(folder / 'avi.mp4', codec='mpeg4', container='avi')
    write_video(folder / 'turned.mp4', rotation=90, size=(64, 96))
    write_video(folder / 'odd.mp4', size=(65, 63))
    write_video(folder / 'narrow.mp4', size=(16, 64))
    write_video(folder / 'brief.mp4', frames=3)
    return {
        'cut.mp4': ['truncated'],
        'zeros.mp4': ['undecodable'],
        'empty.mp4': ['empty'],
        'page.mp4': ['no video'],
        'av1.mp4': [],
        'sound.mp4': ['audio only'],
        'avi.mp4': ['suffix'],
        'turned.mp4': ['rotated'],
        'odd.mp4': ['odd size'],
        'narrow.mp4': ['tiny'],
        'brief.mp4': ['short'],
        'none.mp4': ['missing'],
    }
