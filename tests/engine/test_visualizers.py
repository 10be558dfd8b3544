"""What the backends of a visualizer get of a training: the figures of the neck, by name and step, and drawn clips."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
import torch
from mmaction.registry import VISBACKENDS
from mmaction.structures import ActionDataSample
from mmengine.visualization import BaseVisBackend, Visualizer

from mmdsts.engine.hooks.visualization_hook import with_drawn_names
from mmdsts.evaluation.samples import labelled

from .runs import VALIDATION, build_runner, loader

STEPS = 6  # two epochs of three batches


@VISBACKENDS.register_module(force=True)
class KeepingBackend(BaseVisBackend):
    """Keeps what it is given, as TensorBoard and others write it."""

    def __init__(self, save_dir):
        super().__init__(save_dir)
        self.scalars, self.videos = {}, {}

    experiment = property(lambda self: self)

    def _init_env(self):
        pass

    def add_config(self, config, **kwargs):
        self.config = config

    def add_scalar(self, name, value, step=0, **kwargs):
        self.scalars.setdefault(name, {})[step] = value

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)

    def add_video(self, name, frames, step=0, **kwargs):
        self.videos[name, step] = frames


def train(work_dir, backend, **settings):
    """Train with UDL and validation; returns the backend."""
    name = uuid.uuid4().hex
    visualizer = dict(type='ActionVisualizer', name=name, vis_backends=[dict(type=backend)])
    build_runner(work_dir, val_dataloader=loader(4), **VALIDATION, visualizer=visualizer, **settings).train()
    return Visualizer.get_instance(name).get_backend(backend)


FIGURES = [f'{name}/l{layer}' for name in ('agreement', 'entropy', 'temporal', 'flipped') for layer in (0, 1)]
FIGURES += [f'share/l{layer}_n{neuron}' for layer in (0, 1) for neuron in range(3)]
FIGURES += ['loss', 'loss_balance', 'heldout_loss', 'upstream_grad_norm', 'lr', 'upstream_lr']


def test_figures_of_the_neck_arrive_by_name_and_step(tmp_path):
    kept = train(
        tmp_path,
        'KeepingBackend',
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        log_processor=dict(type='LayerLogProcessor', window_size=1),
    ).scalars
    # A name and the part of the neck behind a slash: TensorBoard and others group by it.
    assert {name: sorted(kept.get(name, {})) for name in FIGURES} == {name: [*range(1, STEPS + 1)] for name in FIGURES}
    for name, values in kept.items():
        # What TensorBoard takes; anything else it passes over with a warning.
        assert all(isinstance(value, (int, float, torch.Tensor, np.number)) for value in values.values()), name
    for step in range(1, STEPS + 1):
        assert sum(kept[f'share/l1_n{neuron}'][step] for neuron in range(3)) == pytest.approx(1)
    # Validations are counted in epochs, as MMEngine does.
    assert sorted(kept['acc/top1']) == [1, 2]


def test_drawn_clips_arrive_with_label_and_prediction(tmp_path, monkeypatch):
    drawn = []
    stock = Visualizer.draw_texts
    monkeypatch.setattr(
        Visualizer, 'draw_texts', lambda self, text, *a, **k: drawn.append(text) or stock(self, text, *a, **k)
    )
    hook = dict(visualization=dict(type='ViewVisualizationHook', enable=True, interval=2))
    videos = train(tmp_path, 'KeepingBackend', epochs=1, default_hooks=hook).videos
    assert sorted(videos) == [('0', 1), ('2', 1)]
    # Two frames of 8 x 8 pixels, in which nothing could be read.
    assert {frames.shape for frames in videos.values()} == {(2, 224, 224, 3)}
    for text in drawn:
        frame, label, prediction = text.splitlines()
        assert frame.startswith('Frame ') and label.startswith('Ground truth: ')
        assert prediction.startswith('Prediction: ') and 1 / 3 <= float(prediction.split(', ')[1]) <= 1


def test_what_is_drawn_of_a_sample():
    sample = labelled(2).set_pred_score(torch.tensor([0.1, 0.7, 0.2]))
    drawn = with_drawn_names(sample)
    assert drawn.pred_labels.item.tolist() == [1] and drawn.gt_labels.item.tolist() == [2]
    assert 'pred_labels' not in sample
    # Scores of several modalities have no one best class.
    several = ActionDataSample(pred_score=dict(RGB=torch.rand(3)))
    assert with_drawn_names(several).keys() == ['pred_score']


def test_tensorboard_has_them(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, 'TensorboardVisBackend', optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05))).close()
    events = EventAccumulator(str(next(tmp_path.glob('*/vis_data')))).Reload()
    for name in ('agreement/l0', 'share/l1_n2', 'upstream_grad_norm'):
        assert [event.step for event in events.Scalars(name)] == [*range(1, STEPS + 1)]
    assert [event.step for event in events.Scalars('acc/top1')] == [1, 2]
