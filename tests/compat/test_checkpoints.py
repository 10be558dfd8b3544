from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.utils import digit_version

from mmdsts.compat import checkpoints

from .points import Points

needs_weights_only = pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'), reason='torch.load trusts every file before torch 2.6'
)


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x, y, mode='tensor'):
        logits = self.layer(x)
        return dict(loss=torch.nn.functional.cross_entropy(logits, y)) if mode == 'loss' else logits


class NumpyScores(BaseMetric):
    default_prefix = 'score'
    kind = np.float64

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(best=self.kind(0.5))


def runner(work_dir, epochs, metric, **options):
    def loader():
        return dict(
            dataset=Points(),
            batch_size=4,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
        )

    return Runner(
        model=Linear(),
        work_dir=str(work_dir),
        train_dataloader=loader(),
        val_dataloader=loader(),
        test_dataloader=loader(),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg={},
        test_cfg={},
        val_evaluator=[metric()],
        test_evaluator=[metric()],
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[
            dict(type='LinearLR', begin=0, end=3, by_epoch=False),
            dict(type='CosineAnnealingLR', T_max=4),
            dict(type='MultiStepLR', milestones=[1, 2]),
            dict(type='PolyLR'),
            dict(type='OneCycleLR', eta_max=0.1, total_steps=50),
            dict(type='ReduceOnPlateauLR', monitor='score/best'),
        ],
        custom_hooks=[dict(type='EMAHook')],
        log_level='WARNING',
        default_scope='mmengine',
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='score/best', rule='greater')),
        experiment_name=f'{Path(work_dir).name}-{epochs}-{len(options)}',
        **options,
    )


@pytest.mark.parametrize('kind', [np.float64, np.float32, float])
def test_a_runs_own_checkpoints_resume_and_test(tmp_path, kind):
    metric = type('Scores', (NumpyScores,), dict(kind=kind))
    first = runner(tmp_path, 2, metric)
    first.train()
    resumed = runner(tmp_path, 3, metric, resume=True)
    resumed.train()
    assert (resumed.epoch, resumed.iter) == (3, 6)
    assert resumed.message_hub.get_info('best_score') == 0.5
    before, after = (r.message_hub.log_scalars['train/loss'].data[0] for r in (first, resumed))
    assert len(after) == 6
    np.testing.assert_array_equal(after[:4], before)

    best = next(tmp_path.glob('best_score_best_epoch_*.pth'))
    assert runner(tmp_path, 4, metric, load_from=str(best)).test() == {'score/best': 0.5}


@needs_weights_only
def test_checkpoints_hold_nothing_that_is_not_allowed(tmp_path):
    runner(tmp_path, 1, NumpyScores).train()
    assert torch.serialization.get_unsafe_globals_in_checkpoint(str(tmp_path / 'epoch_1.pth')) == []


@needs_weights_only
def test_history_of_another_numpy_is_read(tmp_path):
    path = tmp_path / 'buffer.pth'
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    home = np.array(0).__reduce__()[0].__module__
    other = {'numpy._core.multiarray': 'numpy.core.multiarray', 'numpy.core.multiarray': 'numpy._core.multiarray'}[home]
    torch.save(buffer, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(f'c{home}\n'.encode(), f'c{other}\n'.encode()))
    assert f'c{other}\n'.encode() in path.read_bytes()
    loaded = torch.load(path)
    np.testing.assert_array_equal(loaded.data[0], [1.0, 2.0])
    assert loaded.mean() == 1.5


class Attack:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@needs_weights_only
@pytest.mark.parametrize('payload', [Attack(), Path('/'), {'a': os.getcwd}], ids=['getattr', 'class', 'function'])
def test_anything_else_is_still_refused(tmp_path, payload):
    torch.save(payload, tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'bad.pth')


def test_attributes_a_checkpoint_may_read():
    assert checkpoints._checkpoint_attribute(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__class__'), (HistoryBuffer, 'update'), (torch, 'load'), ({}, 'get')]:
        with pytest.raises(pickle.UnpicklingError, match='Only these may be read'):
            checkpoints._checkpoint_attribute(owner, name)
