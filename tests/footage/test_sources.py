from __future__ import annotations

import pytest

from mmdsts.errors import UsageError
from mmdsts.footage.sources import find_footage


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'video')


def found(folder, **options):
    """Path, label, group and split of what is found."""
    footage = find_footage(str(folder), **options)
    assert footage.root == folder or (footage.root / footage.clips[0].path).is_file()
    return [(clip.path, clip.label, clip.group, clip.split) for clip in footage.clips], footage.classes


def test_a_folder_per_class(tmp_path):
    touch(tmp_path, 'serve/1.mp4', 'serve/._1.mp4', 'serve/notes.txt', 'back hand/2.MOV', '.trash/x/3.mp4')
    assert found(tmp_path) == (
        [('back hand/2.MOV', 'back hand', None, None), ('serve/1.mp4', 'serve', None, None)],
        ['back hand', 'serve'],
    )


def test_folders_of_splits_around_and_of_groups_inside(tmp_path):
    touch(tmp_path, 'Train/serve/1.mp4', 'Train/volley/2.mp4', 'valid/serve/3.mp4', 'valid/volley/4.mp4')
    clips, classes = found(tmp_path)
    assert clips[0] == ('Train/serve/1.mp4', 'serve', None, 'train')
    assert clips[3] == ('valid/volley/4.mp4', 'volley', None, 'val')
    assert classes == ['serve', 'volley']
    other = tmp_path / 'other'
    touch(other, 'videos/serve/anna/1.mp4', 'videos/volley/ben/2.mp4')
    assert found(other)[0] == [
        ('videos/serve/anna/1.mp4', 'serve', 'anna', None),
        ('videos/volley/ben/2.mp4', 'volley', 'ben', None),
    ]
    clips, _ = found(other, pattern='(?P<label>serve|volley)/(?P<group>[^/]+)/')
    assert clips[0] == ('videos/serve/anna/1.mp4', 'serve', 'anna', None)


def test_names_of_files(tmp_path):
    touch(tmp_path, 'b_volley1.mp4', 'b_volley12.mp4', 'serve (1).mp4', 'serve-02.mp4')
    assert {(clip[1]) for clip in found(tmp_path)[0]} == {'b_volley', 'serve'}
    assert found(tmp_path, pattern=r'(?P<label>[a-z])(?P<group>\d)')[0][0][1:3] == ('y', '1')


def test_lists_of_mmaction2_in_the_folder(tmp_path):
    touch(tmp_path, 'videos/x.mp4', 'videos/y.mp4')
    (tmp_path / 'tennis_train.txt').write_text('x.mp4 1\n')
    (tmp_path / 'tennis_test.txt').write_text('y.mp4 0\n')
    (tmp_path / 'tennis_train_scenes.tsv').write_text('x.mp4\t7\n')
    (tmp_path / 'label_map.txt').write_text('serve\nvolley\n')
    assert found(tmp_path) == (
        [('y.mp4', 'serve', None, 'test'), ('x.mp4', 'volley', None, 'train')],
        ['serve', 'volley'],
    )
    (tmp_path / 'old_train.txt').write_text('x.mp4 1\n')
    with pytest.raises(UsageError, match='several lists for train'):
        find_footage(str(tmp_path))


def test_a_table(tmp_path):
    touch(tmp_path, 'videos/m1/x.mp4', 'elsewhere/m1/x.mp4')
    (tmp_path / 'clips.csv').write_text('path,label,start,end\nm1/x.mp4,10,0,1\nm1/x.mp4,9,1,2\n')
    clips, classes = found(tmp_path / 'clips.csv', pattern='(?P<group>m[0-9])')
    assert [clip[2] for clip in clips] == ['m1', 'm1']
    assert classes == ['9', '10']  # numbers in their order
    footage = find_footage(str(tmp_path / 'clips.csv'), root=str(tmp_path / 'elsewhere'))
    assert footage.root == tmp_path / 'elsewhere'
    with pytest.raises(UsageError, match='no video of the table is in .*say with --videos'):
        find_footage(str(tmp_path / 'clips.csv'), root=str(tmp_path))


@pytest.mark.parametrize(
    ('labels', 'classes', 'note'),
    [
        ('01', ['serve', 'volley'], 'names of 2 classes'),
        ('02', ['0', '2'], "left aside, for its 2 classes lack the label '2'"),
        (['serve', 'smash'], ['serve', 'smash'], "left aside, for its 2 classes lack the label 'smash'"),
    ],
)
def test_a_label_map_that_lacks_a_label_is_left_aside_in_words(tmp_path, labels, classes, note):
    touch(tmp_path, 'x.mp4')
    (tmp_path / 'label_map.txt').write_text('serve\nvolley\n')
    (tmp_path / 'clips.csv').write_text(''.join(f'x.mp4,{label},{i},{i + 1}\n' for i, label in enumerate(labels)))
    footage = find_footage(str(tmp_path / 'clips.csv'))
    assert footage.classes == classes
    assert footage.notes[-1] == f'{tmp_path}/label_map.txt: {note}'


def test_names_that_are_numbers_are_names(tmp_path):
    touch(tmp_path, 'x.mp4')
    (tmp_path / 'label_map.txt').write_text('1\n2\n3\n')
    (tmp_path / 'clips.csv').write_text('x.mp4,1,0,1\nx.mp4,2,1,2\n')
    footage = find_footage(str(tmp_path / 'clips.csv'))
    assert footage.classes == ['1', '2', '3']
    assert [clip.label for clip in footage.clips] == ['1', '2']


@pytest.mark.parametrize(
    ('names', 'options', 'message'),
    [
        ([], {}, 'has no video'),
        (['a/readme.txt'], {}, 'has no video'),
        (['x1.mp4', 'y1.mp4'], {}, 'tell no class; sort them into a folder per class, give a table'),
        (['a/1.mp4', '2.mp4', 'b/1.mp4'], {}, '1 of 3 videos, such as 2.mp4, are in no folder of a class'),
        (['a/1.mp4'], {}, "has clips of one class, 'a'"),
        (['a1.mp4'], dict(pattern='(?P<label>a)'), "has clips of one class, 'a'"),
        (['a/1.mp4'], dict(pattern='(?P<label>'), 'missing \\)'),
        (['a/1.mp4'], dict(pattern='[a-z]+'), r'expected a part \(\?P<label>...\)'),
        (
            ['a/1.mp4', 'b/x.mp4'],
            dict(pattern=r'(?P<group>\d)\.'),
            'is not found in b/x.mp4; it has to fit',
        ),
    ],
)
def test_what_makes_no_classes_is_explained(tmp_path, names, options, message):
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=message):
        find_footage(str(tmp_path), **options)
    with pytest.raises(UsageError, match='none: no such folder or table'):
        find_footage(str(tmp_path / 'none'))
