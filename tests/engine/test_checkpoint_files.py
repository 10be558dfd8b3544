"""Files that appear whole, and the newest good checkpoint among what a kill left."""

import errno
import os
import shutil

import pytest
import torch

from mmdsts.engine import checkpoint_files
from mmdsts.engine.checkpoint_files import (
    CheckpointError,
    find_resumable,
    list_checkpoints,
    read_checkpoint,
    write_atomically,
)


def checkpoint(folder, name, iteration, moment=None, **extra):
    """A small checkpoint of a training in ``folder``."""
    meta = dict(epoch=iteration, iter=iteration, saved_at=float(iteration if moment is None else moment))
    path = folder / name
    torch.save(dict(meta=meta, state_dict=dict(weight=torch.arange(1000.0) + iteration), message_hub={}, **extra), path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three epochs and their best, as a run leaves them."""
    for epoch in (1, 2, 3):
        checkpoint(tmp_path, f'epoch_{epoch}.pth', epoch)
    checkpoint(tmp_path, 'best_acc_mean1_epoch_2.pth', 2)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return tmp_path


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_what_was_there_stays_until_the_new_is_complete(tmp_path, monkeypatch, step):
    """Killed at either step, the old file is under its name, whole."""

    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    path = tmp_path / 'new' / 'epoch_1.pth'
    write_atomically(path, b'old')
    monkeypatch.setattr(checkpoint_files.os, step, kill)
    with pytest.raises(Killed):
        write_atomically(path, b'new')
    monkeypatch.undo()
    assert path.read_bytes() == b'old'
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'
    assert os.listdir(path.parent) == ['epoch_1.pth']


def test_content_is_flushed_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(checkpoint_files.os, name, lambda *a, n=name, r=real: (calls.append(n), r(*a))[1])
    write_atomically(tmp_path / 'file', b'content')
    assert calls == ['fsync', 'replace', 'fsync']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a device that is always full')
def test_full_disk_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'old')
    os.symlink('/dev/full', tmp_path / 'epoch_1.pth.partial')
    with pytest.raises(OSError, match='No space left') as caught:
        write_atomically(path, b'new')
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


# -- reading ----------------------------------------------------------------------------------------------------------


def flip(path):
    """Change one byte in the middle of a tensor."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(500.0, 600.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)


BREAKAGES = {
    'empty': (lambda path: path.write_bytes(b''), r'empty \(0 bytes\)'),
    'cut short': (lambda path: path.write_bytes(path.read_bytes()[:3000]), r'cut short: .*\(3000 bytes are there\)'),
    'without its last bytes': (lambda path: path.write_bytes(path.read_bytes()[:-10]), 'cut short'),
    'zeros': (lambda path: path.write_bytes(bytes(5000)), 'begins with zeros'),
    'web page': (lambda path: path.write_text('\n<!DOCTYPE html>\n<html><body>404'), 'a web page, not a checkpoint'),
    'pointer': (lambda path: path.write_text('version https://git-lfs.github.com/spec/v1'), 'git lfs pull'),
    'text': (lambda path: path.write_text('hello'), 'not a checkpoint that torch can read'),
    'number': (lambda path: torch.save(3, path), 'holds a int, expected a dict'),
    'damaged': (flip, "damaged, '.*data/0' in it"),
    'missing': (lambda path: path.unlink(), 'No such file'),
}


@pytest.mark.parametrize('kind', BREAKAGES)
def test_a_broken_file_is_told_by_what_is_wrong_with_it(tmp_path, kind):
    damage, message = BREAKAGES[kind]
    path = checkpoint(tmp_path, 'a.pth', 0)
    assert read_checkpoint(path)['state_dict']['weight'][7] == 7
    damage(path)
    with pytest.raises(CheckpointError, match=rf'a\.pth: .*{message}'):
        read_checkpoint(path)


def test_files_of_old_torch_are_read(tmp_path):
    torch.save(dict(weight=torch.ones(3)), tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / 'a.pth')['weight'].sum() == 3


# -- finding ----------------------------------------------------------------------------------------------------------


def test_the_newest_is_found_without_a_note_and_whatever_the_note_says(folder):
    expected = (str(folder / 'epoch_3.pth'), {})
    for note in (str(folder / 'epoch_1.pth'), '', str(folder / 'epoch_9.pth'), '\0\xff'):
        (folder / 'last_checkpoint').write_text(note)
        assert find_resumable([folder]) == expected
    (folder / 'last_checkpoint').unlink()
    assert find_resumable([folder]) == expected


@pytest.mark.parametrize('kind', [kind for kind in BREAKAGES if kind != 'missing'])
def test_broken_ones_are_passed_over_and_named(folder, kind):
    for epoch in (2, 3):
        (folder / f'epoch_{epoch}.pth').unlink()
        checkpoint(folder, f'epoch_{epoch}.pth', 0, moment=epoch)
        BREAKAGES[kind][0](folder / f'epoch_{epoch}.pth')
    found = find_resumable([folder])
    assert found.path == str(folder / 'epoch_1.pth')
    assert set(found.passed_over) == {str(folder / f'epoch_{epoch}.pth') for epoch in (2, 3)}


def test_where_none_is_good_it_is_an_error_and_where_none_is_there_none_is_found(folder):
    for epoch in (1, 2, 3):
        (folder / f'epoch_{epoch}.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'none that training can go on from \(.*epoch_1\.pth: empty.*leave out'):
        find_resumable([folder])
    for epoch in (1, 2, 3):
        (folder / f'epoch_{epoch}.pth').unlink()
    with pytest.raises(CheckpointError, match='best_acc_mean1_epoch_2.pth: holds the weights of the best score'):
        find_resumable([folder])
    (folder / 'best_acc_mean1_epoch_2.pth').unlink()
    assert find_resumable([folder, folder / 'nowhere']) == (None, {})


def test_age_is_the_moment_of_saving_not_the_name_nor_the_time_of_the_file(tmp_path):
    """A work dir in which a shorter training was begun after a longer one, copied in any order."""
    checkpoint(tmp_path, 'epoch_12.pth', 12, moment=100)
    newest = checkpoint(tmp_path, 'epoch_2.pth', 2, moment=200)
    for path, time in ((tmp_path / 'epoch_12.pth', 10**9), (newest, 10**8)):
        os.utime(path, (time, time))
    assert find_resumable([tmp_path]).path == str(newest)
    newest.unlink()
    # MMEngine's own checkpoints say it to the second.
    torch.save(
        dict(meta=dict(epoch=1, iter=1, time='20260101_120000'), state_dict={}, message_hub={}),
        tmp_path / 'epoch_1.pth',
    )
    assert find_resumable([tmp_path]).path == str(tmp_path / 'epoch_1.pth')


def test_only_checkpoints_count(folder):
    (folder / 'epoch_4.pth.partial').write_bytes(b'')
    (folder / 'deployed.pth').write_bytes(b'')
    (folder / 'iter_7.pth').mkdir()
    names = {os.path.basename(path) for path in list_checkpoints([folder])}
    assert names == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'best_acc_mean1_epoch_2.pth'}
    checkpoint(folder, 'run-5.ckpt', 5)
    assert find_resumable([folder], ['run-{}.ckpt']).path == str(folder / 'run-5.ckpt')


def test_a_note_counts_where_nothing_else_does(folder, tmp_path_factory):
    """In a copied work dir it names a checkpoint of the original."""
    original = tmp_path_factory.mktemp('original')
    other = shutil.copy(folder / 'epoch_3.pth', original / 'epoch_4.pth')
    (folder / 'last_checkpoint').write_text(f'{other}\n')
    assert find_resumable([folder]).path == str(folder / 'epoch_3.pth')
    for path in folder.glob('*.pth'):
        path.unlink()
    assert find_resumable([folder]).path == str(other)
