from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from mmdsts.footage.check import KINDS, check_contents, check_files, check_repeats, check_table, names_of, usable
from mmdsts.footage.probe import probe

from .videos import FIXTURES, write_broken, write_video


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp('videos')
    for i in range(3):
        write_video(made / f'good{i}.mp4', seed=i)
    (made / 'copy.mp4').write_bytes((made / 'good1.mp4').read_bytes())
    return made, write_broken(made)


def table(folder, name, text, encoding='utf-8', **options):
    (folder / name).write_bytes(text.encode(encoding))
    return check_table(str(folder / name), str(folder), ['a', 'b'], options.pop('num_classes', 2), **options)


def test_each_kind_of_broken_file_is_found(folder):
    made, broken = folder
    checked = table(made, 'all.csv', ''.join(f'{name},a\n' for name in ('good0.mp4', *broken)), clip_len=5)
    found = defaultdict(list)
    for finding in check_files([checked], 2, quick=False, with_decord=False):
        found[finding.path.rpartition('/')[2]].append(finding.kind)
        assert len(finding.text.splitlines()) == 1
    assert dict(found) == {name: kinds for name, kinds in broken.items() if kinds}
    assert {kind for kinds in found.values() for kind in kinds} <= {*KINDS}
    good = usable(checked, check_files([checked], 2, False, False))
    bad = {clip.path.rpartition('/')[2] for clip, good in zip(checked.clips, good) if not good}
    assert bad == {'cut.mp4', 'zeros.mp4', 'empty.mp4', 'page.mp4', 'sound.mp4', 'none.mp4'}


def test_each_kind_is_explained():
    page = (Path(__file__).parents[2] / 'docs' / 'your-own-data.md').read_text()
    assert [kind for kind in KINDS if f'`{kind}`' not in page] == []


def test_a_codec_is_named_where_only_decord_decodes():
    kind, text = probe(str(FIXTURES / 'av1.mp4')).findings[0]
    assert kind == 'codec'
    assert text.startswith('decord cannot decode it (av1, 64 x 64): its codec, AV1, cannot be decoded here; convert')


def test_a_quick_look_decodes_one_frame(folder):
    made, _ = folder
    assert probe(str(made / 'zeros.mp4')).findings[0][0] == 'undecodable'
    assert probe(str(made / 'zeros.mp4'), quick=True, with_decord=False).findings == []
    write_video(made / 'x.mkv')
    assert probe(str(made / 'x.mkv'), quick=True, with_decord=False).frames == 10  # which its head does not say


def test_windows_lie_in_their_videos(folder):
    made, _ = folder  # videos of a second
    text = 'path,label,start,end\ngood0.mp4,a,0.2,0.9\ngood0.mp4,a,1.5,2\ngood0.mp4,a,0.5,3\ngood0.mp4,a,0,0.3\n'
    windows = table(made, 'w.csv', text, clip_len=5)
    found = check_files([windows], 1, False, False)
    assert usable(windows, found) == [True, False, True, True]  # what is wrong with one is not with the video
    assert [(finding.kind, finding.where) for finding in found] == [
        ('window', 'w.csv:3'), ('window end', 'w.csv:4'), ('short', 'w.csv:5'),
    ]  # fmt: skip


def test_lines_labels_and_encodings(folder):
    made, _ = folder
    checked = table(made, 'lines.csv', 'path,label\ngood0.mp4,a\n\ngood1.mp4,c\ngood2.mp4\ngood2.mp4,2\n', 'utf-16')
    assert [(finding.kind, finding.where) for finding in checked.findings] == [
        ('encoding', 'lines.csv'), ('line', 'lines.csv:5'), ('blank line', 'lines.csv'),
        ('label', 'lines.csv:4'), ('label', 'lines.csv:6'),
    ]  # fmt: skip
    assert usable(checked, checked.findings) == [True, False, False]
    assert checked.findings[4].text == '2 is out of range, expected 0 to 1'
    (latin,) = table(made, 'latin.csv', 'path,label\nübung.mp4,a\n', 'latin-1').findings
    assert latin.kind == 'encoding' and 'save the file as UTF-8' in latin.text
    blank = table(made, 'blank.txt', 'a b.mp4 0\nc.mp4 1\n')
    assert [finding.where for finding in blank.findings] == ['blank.txt:1']
    (none,) = check_table(str(made / 'none.csv'), None, None, None).findings
    assert none.kind == 'missing'


def test_lists_of_finegym_leave_out_suffixes(folder):
    made, _ = folder
    checked = table(made, 'gym.txt', 'good0 1\nnone 0\n')
    assert [clip.path for clip in checked.clips] == [str(made / 'good0.mp4'), str(made / 'none')]


def test_what_is_in_two_places_is_found(folder):
    made, _ = folder
    train = table(made, 'train.csv', 'path,label,group\ngood0.mp4,a,g\ngood0.mp4,b,g\ngood1.mp4,a,h\n')
    val = table(made, 'val.csv', 'path,label,group\ngood0.mp4,a,g\ncopy.mp4,a,i\n')
    assert [(f.kind, f.where, f.text) for f in check_repeats([train, val])] == [
        ('duplicate', 'train.csv:3', 'good0.mp4 is in train.csv:2, too, with the label a'),
        ('both splits', 'val.csv:2', 'good0.mp4 is in train.csv:2, too'),
        ('both splits', 'train.csv:3 and val.csv:2', "the group 'g' is in both"),
    ]
    windows = [table(made, f'{s}.csv', f'path,label,start,end\ngood0.mp4,a,{i},{i + 1}\n') for i, s in enumerate('vw')]
    assert [(f.kind, f.text) for f in check_repeats(windows)] == [
        ('shared video', '1 videos have windows in both, such as good0.mp4')
    ]
    paths = ['train/clips.csv', 'val/clips.csv', 'val/more.csv']
    assert names_of(paths) == [*paths[:2], 'more.csv']
    args = str(made / 'val.csv'), str(made), ['a', 'b'], 2, None
    twice = [check_table(*args, name=name) for name in paths[:2]]
    assert [f.where for f in check_repeats(twice)][:2] == ['val/clips.csv:2', 'val/clips.csv:3']
    (same,) = check_contents([train, val])
    assert (same.kind, same.where) == ('both splits', 'train.csv and val.csv')
    assert 'the same video as' in same.text


def test_a_name_in_another_unicode_form_is_found(tmp_path):
    write_video(tmp_path / 'u\u0308bung.mp4')
    assert probe(str(tmp_path / '\u00fcbung.mp4')).findings[0][1].endswith('is there, in another Unicode form')
    assert 'in other letters' in probe(str(tmp_path / 'U\u0308BUNG.mp4')).findings[0][1]
