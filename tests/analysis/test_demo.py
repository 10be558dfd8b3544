from __future__ import annotations

import copy
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config

import mmdsts
from mmdsts.analysis import demo
from mmdsts.analysis.demo import Prediction, class_names, describe, load_recognizer, recognize
from mmdsts.analysis.demo_figure import check_output, draw_panel, draw_prediction
from mmdsts.cli import UsageError

from ..test_configs import reduce, videos  # noqa: F401  videos is a fixture

ROOT = Path(__file__).parents[2]
PREDICTION = Prediction(
    [7, 2, 0], [0.5, 0.3, 0.1], ['seven', 'two', 'zero'], torch.tensor([[3, 3, 3, 3], [0, 2, 2, 1]]), 4
)


@pytest.fixture
def run(tmp_path, videos):  # noqa: F811
    """Config, checkpoint (with the names of its classes) and a video."""
    cfg = reduce(Config.fromfile(str(ROOT / 'configs' / 'dsts_finegym.py')), tmp_path, videos)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    path = tmp_path / 'model.pth'
    meta = dict(dataset_meta=dict(classes=[f'move {i}' for i in range(99)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return cfg, str(path), str(sorted(videos.glob('*.mp4'))[0])


def test_prediction_is_that_of_the_test_pipeline(run):
    cfg, checkpoint, video = run
    model = load_recognizer(cfg, checkpoint)
    prediction = recognize(model, video, class_names(model))
    assert len(prediction.labels) == 5
    assert prediction.scores == sorted(prediction.scores, reverse=True)
    assert 0 < sum(prediction.scores) < 1
    assert prediction.names == [f'move {label}' for label in prediction.labels]
    assert prediction.active.shape == (3, 6)  # layers, 2 sets of frames x 3 crops
    assert prediction.num_neurons == 3
    everything = recognize(model, video, class_names(model), topk=1000)
    assert len(everything.labels) == 99
    assert sum(everything.scores) == pytest.approx(1)
    assert everything.labels[:5] == prediction.labels


def test_deployed_model_decides_the_same(run):
    cfg, checkpoint, video = run
    # As test.py would run many views; the model of the file decides as the one that it came from.
    cfg.model.test_cfg = dict(max_testing_views=4)
    model = load_recognizer(cfg, checkpoint)
    expected = recognize(model, video, class_names(model))
    deployed = mmdsts.deploy(model)
    found = recognize(deployed, video, class_names(model))
    assert torch.equal(found.active, expected.active)
    assert expected.active.shape == (3, 6)
    assert found.num_neurons == 3
    assert describe(found).splitlines()[-3:] == describe(expected).splitlines()[-3:]


def test_model_without_dsts_neck(run, tmp_path):
    cfg, _, video = run
    cfg.model.pop('neck')
    path = str(tmp_path / 'plain.pth')
    torch.save(MODELS.build(copy.deepcopy(cfg.model)).state_dict(), path)
    prediction = recognize(load_recognizer(cfg, path), video, [str(i) for i in range(99)])
    assert prediction.active is None
    assert 'no DSTS neck' in describe(prediction)


def test_a_checkpoint_of_another_model_is_refused(run):
    cfg, checkpoint, _ = run
    cfg.model.neck.num_neurons = 2
    with pytest.raises(UsageError, match=r'model\.pth does not fit the model: .*left over are neck.* more'):
        load_recognizer(cfg, checkpoint)


def test_class_names(run, tmp_path):
    cfg, checkpoint, _ = run
    model = load_recognizer(cfg, checkpoint)
    assert class_names(model)[98] == 'move 98'  # of the checkpoint
    model.dataset_meta = {}
    assert class_names(model)[98] == 'element 98'  # of the dataset of the config
    Path(cfg.test_dataloader.dataset.categories_file).unlink()
    assert class_names(model)[98] == 'class 98'

    plain, official = tmp_path / 'names.txt', tmp_path / 'categories.txt'
    plain.write_text('\n'.join(f'name {i}' for i in range(99)) + '\n')
    assert class_names(model, str(plain))[98] == 'name 98'
    official.write_text('\n'.join(f'Clabel: {i}; set: 1; Glabel: 1; official {i}' for i in range(99)))
    assert class_names(model, str(official))[98] == 'official 98'
    plain.write_text('one\ntwo\n')
    with pytest.raises(UsageError, match=r'names\.txt has 2 names, but the model has 99 classes'):
        class_names(model, str(plain))
    with pytest.raises(UsageError, match=r'^none\.txt: no such file'):
        class_names(model, 'none.txt')
    official.write_text('Clabel: 1; set: 1; Glabel: 1; starts at one')
    with pytest.raises(UsageError, match=r'categories\.txt, line 1'):
        class_names(model, str(official))


def test_what_the_pipeline_cannot_read_is_named(run):
    cfg, checkpoint, video = run
    model = load_recognizer(cfg, checkpoint)

    def fail(results):
        raise RuntimeError('from_size == to_size')

    model.cfg.test_dataloader.dataset.pipeline = [fail]
    with pytest.raises(UsageError, match=r'_0001\.mp4: the test pipeline fails on it: RuntimeError: from_size'):
        recognize(model, video, class_names(model))


NO_DURATION = Path(__file__).parents[1] / 'fixtures' / 'videos' / 'no_duration.webm'


def test_a_video_that_decord_cannot_read_is_decoded_by_pyav(run):
    pytest.importorskip('av')
    cfg, checkpoint, _ = run
    model = load_recognizer(cfg, checkpoint)
    assert len(recognize(model, str(NO_DURATION), class_names(model)).labels) == 5


def test_without_pyav_it_is_explained(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    cfg, checkpoint, _ = run
    model = load_recognizer(cfg, checkpoint)
    with pytest.raises(UsageError, match=r'no_duration\.webm: the test pipeline fails on it: it does not say how long'):
        recognize(model, str(NO_DURATION), class_names(model))


def test_text():
    assert describe(PREDICTION).splitlines() == [
        ' 50.0%     7  seven',
        ' 30.0%     2  two',
        ' 10.0%     0  zero',
        'layer 0: neuron 3 in all 4 views',
        'layer 1: neuron 2 in 2 of 4 views, neuron 0 in 1 of 4 views, neuron 1 in 1 of 4 views',
    ]
    assert demo.describe_layer([5]) == 'neuron 5'


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.mp4', '.gif'])
def test_drawing(tmp_path, videos, suffix):  # noqa: F811
    video = str(sorted(videos.glob('*.mp4'))[0])
    out = draw_prediction(PREDICTION, video, str(tmp_path / 'new' / f'drawn{suffix}'))
    capture = cv2.VideoCapture(str(out))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(frame)
    panel = draw_panel(PREDICTION, 1280 if suffix in ('.png', '.jpg') else 640)
    assert len(frames) == (1 if suffix in ('.png', '.jpg') else 20)
    height, width = frames[0].shape[:2]
    assert (height, width) == ((200 if width == 1280 else 400) + len(panel), panel.shape[1])
    # The panel is at the bottom, the noise of the made-up video above it.
    below = frames[0][-len(panel) :].astype(float)
    assert np.abs(below - panel).mean() < 12
    assert frames[0][: -len(panel)].std() > 30


@pytest.mark.parametrize(('suffix', 'kept'), [('.png', 4), ('.gif', 60)])
def test_a_long_video_is_not_kept_in_memory(tmp_path, monkeypatch, suffix, kept):
    """Frames of full size that are made are few, evenly spread, and include the first and the last."""
    long, numbers = tmp_path / 'long.mp4', []
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter_fourcc(*'mp4v'), 25, (64, 64))
    for number in range(250):
        writer.write(np.full((64, 64, 3), number, np.uint8))
    writer.release()
    resize = cv2.resize

    def record(frame, size, **kwargs):
        if frame.shape[:2] == (64, 64):
            numbers.append(int(frame.mean()))
        return resize(frame, size, **kwargs)

    monkeypatch.setattr(cv2, 'resize', record)
    draw_prediction(PREDICTION, str(long), str(tmp_path / f'drawn{suffix}'))
    assert len(numbers) == kept
    assert np.abs(np.array(numbers) - np.linspace(0, 249, kept)).max() < 8  # grey values, and the codec is lossy


def test_panel_shows_the_active_neurons():
    same = PREDICTION._replace(active=torch.zeros(2, 4, dtype=torch.long))
    assert draw_panel(PREDICTION).shape[1:] == (640, 3)
    assert not np.array_equal(draw_panel(PREDICTION), draw_panel(same))
    draw_panel(PREDICTION._replace(active=None, num_neurons=0))


def test_unknown_endings():
    with pytest.raises(UsageError, match=r'out\.avi: expected a name that ends in one of \.png'):
        check_output('out.avi')


def test_command_line(run, tmp_path, monkeypatch, capsys):
    cfg, checkpoint, video = run
    config = tmp_path / 'config.py'
    config.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['demo.py', *args])
        runpy.run_path(str(ROOT / 'tools' / 'demo.py'), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    out = tmp_path / 'drawn.png'
    lines = call(video, str(config), checkpoint, '--out', str(out), '--device', 'cpu', '--topk', '3')
    assert sum('%' in line and 'move' in line for line in lines) == 3
    assert [line[:8] for line in lines if line.startswith('layer')] == ['layer 0:', 'layer 1:', 'layer 2:']
    assert lines[-1] == f'drawn: {out}'
    assert out.stat().st_size > 0

    for option, value, message in (('--label', 'none.txt', 'no such file'), ('--out', 'out.avi', 'expected a name')):
        with pytest.raises(SystemExit):
            call(video, str(config), checkpoint, option, value, '--device', 'cpu')
        assert f'demo.py: error: {option} {value}: {message}' in capsys.readouterr().err

    with pytest.raises(SystemExit) as end:
        call(str(tmp_path / 'none.mp4'), str(config), checkpoint)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith('demo.py: error: video')
