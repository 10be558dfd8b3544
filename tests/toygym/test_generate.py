"""ToyGym on disk: files, determinism, safe re-runs, decoding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmaction.registry import DATASETS
from mmengine.config import Config

from mmdsts.datasets.finegym import read_categories, read_elements, read_sets
from mmdsts.toygym import (
    ELEMENTS,
    SETS,
    ToyGymSpec,
    contact_sheet,
    generate,
    make_clip,
    read_nuisances,
    render_clip,
)
from mmdsts.toygym import generate as generate_function
from mmdsts.toygym.generate import MANIFEST, VERSION

ROOT = Path(__file__).parents[2]
SPEC = ToyGymSpec(train_clips=1, val_clips=1, seed=3)
generate_module = sys.modules[generate_function.__module__]


@pytest.fixture(scope='module')
def toygym(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'toygym'
    assert generate(out, SPEC, workers=1)
    return out


def test_annotation_files_are_read_like_those_of_finegym(toygym):
    train, val = (read_elements(str(toygym / f'toygym_{split}.txt')) for split in ('train', 'val'))
    assert [label for _, label in train] == list(range(len(ELEMENTS))) == [label for _, label in val]
    names = [name for name, _ in train + val]
    assert len({name[:11] for name in names}) == len(names)  # no source video is in both splits
    assert sorted(path.stem for path in (toygym / 'videos').iterdir()) == sorted(names)
    categories = read_categories(str(toygym / 'toygym_categories.txt'))
    assert categories.classes == [e.name for e in ELEMENTS]
    assert categories.sets == [e.set_id for e in ELEMENTS]
    assert read_sets(str(toygym / 'toygym_set_categories.txt')) == SETS
    for path in toygym.glob('*.*'):
        assert str(toygym.parent) not in path.read_text()


def test_the_config_decodes_what_was_rendered(toygym):
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/toygym.py')
    dataset_cfg = cfg.val_dataloader.dataset
    for key in ('ann_file', 'categories_file', 'sets_file'):
        dataset_cfg[key] = dataset_cfg[key].replace(cfg.data_root, f'{toygym}/')
    dataset_cfg.data_prefix = dict(video=str(toygym / 'videos'))
    dataset = DATASETS.build(dataset_cfg)
    assert len(dataset) == len(ELEMENTS)
    for label in (0, 13):
        sample = dataset[label]
        assert sample['data_samples'].gt_label.item() == label
        decoded = sample['inputs'].numpy()  # (clips, C, T, H, W)
        assert decoded.shape == (1, 3, 8, 64, 64)
        rendered = make_clip(SPEC, 'val', label, 0)[2:18:2].transpose(3, 0, 1, 2)
        difference = np.abs(decoded[0].astype(float) - rendered).mean()
        backwards = np.abs(decoded[0].astype(float) - rendered[::-1]).mean()
        assert difference < 12  # MPEG-4 is lossy
        assert difference < 0.8 * backwards  # RGB, not BGR


def test_clips_depend_on_seed_split_class_and_index_only():
    clip = make_clip(SPEC, 'train', 4, 0)
    more = ToyGymSpec(train_clips=9, val_clips=2, seed=3)
    assert clip.tobytes() == make_clip(more, 'train', 4, 0).tobytes()
    for other in (
        make_clip(ToyGymSpec(seed=4), 'train', 4, 0),
        make_clip(SPEC, 'val', 4, 0),
        make_clip(SPEC, 'train', 5, 0),
        make_clip(SPEC, 'train', 4, 1),
    ):
        assert clip.tobytes() != other.tobytes()


def test_a_complete_set_is_kept_and_a_damaged_one_is_made_again(toygym):
    video = next((toygym / 'videos').iterdir())
    before = video.stat().st_mtime_ns
    assert not generate(toygym, SPEC, workers=1)
    assert video.stat().st_mtime_ns == before
    video.unlink()
    assert generate(toygym, SPEC, workers=1)
    assert video.is_file()


def test_workers_do_not_change_the_files(toygym, tmp_path):
    assert generate(tmp_path / 'other', SPEC, workers=2)
    for path in sorted((tmp_path / 'other' / 'videos').iterdir())[::7]:
        assert path.read_bytes() == (toygym / 'videos' / path.name).read_bytes()


def test_an_interrupted_run_leaves_nothing_that_counts(tmp_path, monkeypatch):
    out = tmp_path / 'toygym'
    with monkeypatch.context() as patch:
        written = []

        def interrupted(path, frames):
            written.append(path)
            if len(written) == 5:
                raise KeyboardInterrupt

        patch.setattr(generate_module, '_write_video', interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(out, SPEC, workers=1)
    assert len(written) == 5
    assert not out.exists()
    assert generate(out, SPEC, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ['toygym']


def test_other_parameters_are_not_overwritten_silently(toygym):
    with pytest.raises(FileExistsError, match=r'difficulty: 0\.25 there, 0\.9 wanted'):
        generate(toygym, ToyGymSpec(1, 1, difficulty=0.9, seed=3), workers=1)
    manifest = json.loads((toygym / MANIFEST).read_text())
    assert manifest['version'] == VERSION
    assert manifest['difficulty'] == SPEC.difficulty


def test_a_set_of_an_older_version_is_made_again(tmp_path):
    assert generate(tmp_path / 'toygym', SPEC, workers=1)
    manifest = tmp_path / 'toygym' / MANIFEST
    manifest.write_text(json.dumps(dict(json.loads(manifest.read_text()), version=VERSION - 1)))
    assert generate(tmp_path / 'toygym', SPEC, workers=1)
    assert json.loads(manifest.read_text())['version'] == VERSION


def test_a_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(FileExistsError, match='not a ToyGym set'):
        generate(tmp_path, SPEC, workers=1, overwrite=True)
    assert (tmp_path / 'thesis.txt').read_text() == 'precious'


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(train_clips=0), 'train_clips must be at least 1, got 0'),
    (dict(difficulty=1.5), 'difficulty must lie between 0 and 1, got 1.5'),
    (dict(size=48), 'multiple of 32'),
    (dict(num_frames=8), 'num_frames must be at least 16'),
    (dict(seed=-1), 'seed must not be negative'),
])  # yapf: disable
def test_bad_parameters_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ToyGymSpec(**kwargs)


def test_contact_sheet_has_a_row_a_class():
    sheet = contact_sheet(SPEC, columns=2, zoom=1)
    assert sheet.shape == (len(ELEMENTS) * (64 + 22), 2 * 64, 3)


def test_command_line_reports_errors_in_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    command = [sys.executable, str(ROOT / 'tools/data/make_toygym.py'), '--out', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'make_toygym:' in done.stderr
    assert 'not a ToyGym set' in done.stderr
    assert 'Traceback' not in done.stderr


def test_nuisances_are_those_that_the_clips_were_rendered_with(tmp_path):
    spec = ToyGymSpec(train_clips=1, val_clips=2, difficulty=0.4, seed=3)
    generate(tmp_path / 'set', spec, workers=1)
    nuisances = read_nuisances(tmp_path / 'set')
    assert len(nuisances) == 24 * 3
    lines = (tmp_path / 'set' / 'toygym_val.txt').read_text().splitlines()
    name, label = lines[24 + 5].split()  # the second clip of a class
    frames = render_clip(ELEMENTS[int(label)], nuisances[name])
    assert np.array_equal(frames, make_clip(spec, 'val', int(label), 1))
    with pytest.raises(FileNotFoundError, match='holds no ToyGym set'):
        read_nuisances(tmp_path)
    manifest = tmp_path / 'set' / 'toygym.json'
    manifest.write_text(manifest.read_text().replace(f'"version": {VERSION}', '"version": 0'))
    with pytest.raises(ValueError, match=f'of version 0, this code makes version {VERSION}.*make_toygym.py --out'):
        read_nuisances(tmp_path / 'set')
