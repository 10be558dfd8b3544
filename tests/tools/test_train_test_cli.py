"""tools/train.py and tools/test.py on a run of seconds; MMAction2's own tools on the same config."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
import torch

from .tiny_run import THEIRS, TOOLS, run

# Trainings here are those of a user, also the one that several tests share.
pytestmark = pytest.mark.new_neurons


def losses(checkpoint):
    """Training losses in the message hub of a checkpoint."""
    return torch.load(checkpoint)['message_hub']['log_scalars']['train/loss']._log_history.tolist()


def test_mmactions_own_tool_gives_the_same_losses(monkeypatch, config, trained, tmp_path):
    assert run(monkeypatch, THEIRS / 'train.py', config, '--work-dir', tmp_path, '--seed', 3) == 0
    ours = losses(trained / 'epoch_2.pth')
    assert len(ours) == 4
    assert losses(tmp_path / 'epoch_2.pth') == ours


@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
def test_test_tool_reports_and_dumps(monkeypatch, capfd, config, trained, tmp_path, tools):
    dump = tmp_path / 'predictions.pkl'
    assert (
        run(monkeypatch, tools / 'test.py', config, trained / 'epoch_2.pth', '--dump', dump, '--work-dir', tmp_path)
        == 0
    )
    printed = ''.join(capfd.readouterr())
    assert 'acc/top1' in printed
    assert 'acc/mean1' in printed
    predictions = pickle.loads(dump.read_bytes())
    assert len(predictions) == 8
    for prediction in predictions:
        assert prediction['pred_score'].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
@pytest.mark.parametrize('state', ['no note', 'newest cut short'])
def test_resume_finds_the_newest_that_can_be_read(monkeypatch, config, trained, tmp_path, tools, state):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    if state == 'newest cut short':
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
        (tmp_path / 'epoch_2.pth').write_bytes((trained / 'epoch_2.pth').read_bytes()[:9999])
    assert (
        run(
            monkeypatch,
            tools / 'train.py',
            config,
            '--work-dir',
            tmp_path,
            '--resume',
            '--cfg-options',
            'train_cfg.max_epochs=3',
            'default_hooks.checkpoint.type=DurableCheckpointHook',
        )
        == 0
    )
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    reached = 1 if state == 'newest cut short' else 2
    assert f'resumed epoch: {reached}, iter: {2 * reached}' in log
    assert ('Passed over' in log) == (state == 'newest cut short')
    assert losses(tmp_path / 'epoch_3.pth')[: 2 * reached] == losses(trained / f'epoch_{reached}.pth')


def test_resume_goes_on_where_training_stopped(monkeypatch, config, trained, tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes((trained / 'epoch_1.pth').read_bytes())
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert run(monkeypatch, TOOLS / 'train.py', config, '--work-dir', tmp_path, '--seed', 3, '--resume') == 0
    resumed, through = torch.load(tmp_path / 'epoch_2.pth'), torch.load(trained / 'epoch_2.pth')
    assert resumed['meta']['iter'] == through['meta']['iter'] == 4
    assert losses(tmp_path / 'epoch_2.pth')[:2] == losses(trained / 'epoch_1.pth')
    assert resumed['param_schedulers'][0]['last_step'] == through['param_schedulers'][0]['last_step']
    assert resumed['optimizer']['param_groups'][0]['lr'] == through['optimizer']['param_groups'][0]['lr']


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
@pytest.mark.parametrize('tools', [TOOLS, THEIRS], ids=['ours', 'mmaction2'])
def test_pytorch_launcher_without_gpu(config, tmp_path, tools):
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc_per_node=2',
            tools / 'train.py',
            config,
            '--launcher',
            'pytorch',
            '--work-dir',
            tmp_path,
            '--seed',
            '3',
        ],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / 'epoch_2.pth')) == 2  # two ranks share the four batches


def test_show_dir_gets_the_frames_of_every_nth_clip(monkeypatch, config, trained, tmp_path):
    assert (
        run(
            monkeypatch,
            TOOLS / 'test.py',
            config,
            trained / 'epoch_2.pth',
            '--show-dir',
            tmp_path / 'drawn',
            '--work-dir',
            tmp_path,
            '--interval',
            4,
        )
        == 0
    )
    frames = sorted(path.relative_to(tmp_path / 'drawn') for path in (tmp_path / 'drawn').rglob('*.*g'))
    assert {path.parts[0] for path in frames} == {'0_0', '4_0'}
    assert len(frames) == 2 * 4
