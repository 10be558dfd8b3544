"""Files from phones, browsers and interrupted downloads, made from ``fixtures/videos``.

h264.mp4 has 20 frames and its index in front of them; no_duration.webm was written to a pipe, as browsers record;
av1.mp4 has a codec that neither OpenCV nor decord brings a decoder for.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmaction.datasets.transforms import ThreeCrop

from mmdsts.datasets.video import check_every_frame, check_video, describe_error, explain
from mmdsts.errors import ClipError, UsageError

VIDEOS = Path(__file__).parents[1] / 'fixtures' / 'videos'
WHOLE = (VIDEOS / 'h264.mp4').read_bytes()


def frame_offset(number):
    """Where a frame of h264.mp4 starts: its sizes are in the stsz box, its frames one after another in mdat."""
    box = WHOLE.index(b'stsz')
    sizes = [int.from_bytes(WHOLE[box + 16 + 4 * i : box + 20 + 4 * i], 'big') for i in range(20)]
    return WHOLE.index(b'mdat') + 4 + sum(sizes[:number])


@pytest.fixture
def broken(tmp_path):
    """Each kind of broken file, by what is said of it."""
    inside = frame_offset(10) + 20
    files = {
        'cut in a frame.mp4': (WHOLE[:inside], f'its last {len(WHOLE) - inside} bytes are missing; get it anew'),
        # decord opens this one and gives half of the frames.
        'cut between frames.mp4': (
            WHOLE[: frame_offset(10)],
            f'its last {len(WHOLE) - frame_offset(10)} bytes are missing',
        ),
        'cut at the end.mp4': (WHOLE[:-8], 'its last 8 bytes are missing'),
        # decord opens this one; the tenth frame cannot be decoded.
        'zeros inside.mp4': (WHOLE[: frame_offset(10)] + bytes(400) + WHOLE[frame_offset(10) + 400 :], 'DECORDError'),
        'recorded.webm': (
            (VIDEOS / 'no_duration.webm').read_bytes(),
            'does not say how long it is, .*ffmpeg -i .*recorded.webm -c copy OUT.webm',
        ),
        'codec.mp4': ((VIDEOS / 'av1.mp4').read_bytes(), 'its codec, AV1, cannot be decoded here; convert it with'),
        'page.mp4': (b'<html>not found</html>', r'page\.mp4 \(22 bytes\): not a readable video; expected a file such'),
        'empty.mp4': (b'', r'empty\.mp4 \(0 bytes\): not a readable video'),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    return {tmp_path / name: message for name, (_, message) in files.items()}


def test_every_frame_is_looked_at(broken):
    check_every_frame(str(VIDEOS / 'h264.mp4'))
    for path, message in broken.items():
        with pytest.raises(ClipError, match=message) as error:
            check_every_frame(str(path))
        assert str(path) in str(error.value)
        assert len(str(error.value).splitlines()) == 1
        assert isinstance(error.value, UsageError)


def test_the_first_check_finds_all_that_needs_no_decoding_to_the_end(broken):
    for path in broken:
        if path.name in ('zeros inside.mp4', 'recorded.webm'):  # OpenCV reads this one
            check_video(str(path))
        else:
            with pytest.raises(ClipError, match='not a readable video|the file is incomplete'):
                check_video(str(path))


def test_nothing_is_said_of_a_good_file_but_the_error():
    good = str(VIDEOS / 'h264.mp4')
    assert explain(good) is None
    assert describe_error(good, ValueError('too small\n  by far')) == 'ValueError: too small by far'
    assert explain('s3://bucket/a.mp4') is None


def test_an_assertion_without_words():
    with pytest.raises(AssertionError) as failure:
        ThreeCrop(32).transform(dict(img_shape=(40, 53), imgs=[np.zeros((40, 53, 3))]))
    described = describe_error(str(VIDEOS / 'h264.mp4'), failure.value)
    assert described == 'AssertionError: assert crop_h == img_h or crop_w == img_w'


def test_no_such_file(tmp_path):
    with pytest.raises(ClipError, match=r'video .*none\.mp4: no such file \(the working directory is'):
        check_video(str(tmp_path / 'none.mp4'))


# --- a data set names the clip --------------------------------------------------------------------------------------

PIPELINE = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]


def datasets(folder):
    """One clip, in a data set of each kind."""
    name = 'brokenVideo_E_000000_000002_A_0000_0002'
    (folder / f'{name}.mp4').write_bytes(WHOLE[: frame_offset(10) + 20])
    (folder / 'finegym.txt').write_text(f'{name} 0\n')
    (folder / 'plain.txt').write_text(f'{name}.mp4 0\n')
    (folder / 'diving.json').write_text(json.dumps([dict(vid_name=name, label=0, start_frame=0, end_frame=9)]))
    common = dict(pipeline=PIPELINE, data_prefix=dict(video=str(folder)))
    return f'{name}.mp4', [
        dict(type='FineGymDataset', ann_file=str(folder / 'finegym.txt'), **common),
        dict(type='Diving48Dataset', ann_file=str(folder / 'diving.json'), **common),
        dict(type='VideoDataset', ann_file=str(folder / 'plain.txt'), **common),
    ]


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('kind', range(3))
def test_a_clip_that_cannot_be_loaded_is_named(tmp_path, kind, workers):
    from mmaction.registry import DATASETS
    from mmengine.runner import Runner

    clip, configs = datasets(tmp_path)
    loader = Runner.build_dataloader(
        dict(
            batch_size=1,
            num_workers=workers,
            dataset=DATASETS.build(configs[kind]),
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
    )
    with pytest.raises(ClipError, match=f'clip .*{clip}: the file is incomplete, its last .* missing'):
        next(iter(loader))
