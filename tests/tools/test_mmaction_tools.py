"""MMAction2's own tools on a run with DSTS and UDL; docs/doors.md has those that do not work, and why."""

from __future__ import annotations

import pickle
import re
import runpy
import sys
from unittest.mock import MagicMock

import pytest
import torch
from mmaction.apis import init_recognizer
from mmaction.registry import DATASETS
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ..engine.toy_recognizer import build_recognizer
from .tiny_run import THEIRS, TOOLS, run

pytestmark = pytest.mark.new_neurons


@pytest.fixture(scope='module')
def udl(config):
    """Config, work dir after two epochs of UDL, and predictions of their end."""
    cfg = Config.fromfile(config)
    cfg.optim_wrapper.type = 'UDLOptimWrapper'
    cfg.train_cfg.type = 'UDLEpochBasedTrainLoop'
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'SampleFrames':
            step.test_mode = True  # the same frames each time
    path = config.with_name('udl.py')
    cfg.dump(path)
    work_dir = config.parent / 'udl'
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, THEIRS / 'train.py', path, '--work-dir', work_dir, '--seed', 3) == 0
    return path, work_dir, predict(path, work_dir / 'epoch_2.pth', work_dir)


def predict(config, checkpoint, folder):
    """What MMAction2's test makes of a checkpoint, as a file."""
    out = folder / 'predictions.pkl'
    with pytest.MonkeyPatch.context() as patch:
        done = run(patch, THEIRS / 'test.py', config, checkpoint, '--dump', out, '--work-dir', folder / 'test')
    assert done == 0
    return out


def scores(path):
    return torch.stack([sample['pred_score'] for sample in pickle.loads(path.read_bytes())])


def accuracies(path):
    labels = torch.cat([sample['gt_label'] for sample in pickle.loads(path.read_bytes())])
    right = (scores(path).argmax(1) == labels).double()
    return right.mean(), torch.stack([right[labels == label].mean() for label in labels.unique()]).mean()


def test_publish_model_keeps_the_scores(monkeypatch, udl, tmp_path):
    config, work_dir, predictions = udl
    assert run(monkeypatch, TOOLS / 'publish_model.py', work_dir / 'epoch_2.pth', tmp_path / 'out.pth') == 0
    (published,) = tmp_path.glob('out_*-????????.pth')
    assert not {'optimizer', 'message_hub', 'param_schedulers'} & torch.load(published, weights_only=True).keys()
    assert torch.equal(scores(predict(config, published, tmp_path)), scores(predictions))


def test_analyze_logs_reads_the_figures_of_the_neck(monkeypatch, capsys, udl):
    log = next(path for path in udl[1].glob('*/vis_data/*.json') if path.stem != 'scalars')
    monkeypatch.setitem(sys.modules, 'seaborn', MagicMock())
    tool = THEIRS / 'analysis_tools' / 'analyze_logs.py'
    (epochs,) = runpy.run_path(str(tool))['load_json_logs']([log])
    assert sorted(epochs) == [1, 2]
    for lines in epochs.values():
        assert lines['iter'] and len(lines['iter']) == len(lines['time']) == 2
        for name in ('upstream_grad_norm', 'heldout_loss', 'agreement/l0', 'share/l0_n1'):
            assert len(lines[name]) == 2 and all(value >= 0 for value in lines[name])
    assert run(monkeypatch, tool, 'cal_train_time', log) == 0
    assert re.search(r'average iter time: \d+\.\d+ s/iter', capsys.readouterr().out)


def test_print_config_prints_a_config(monkeypatch, capsys, udl):
    assert run(monkeypatch, THEIRS / 'analysis_tools' / 'print_config.py', udl[0]) == 0
    printed = capsys.readouterr().out.partition('Config:\n')[2]
    assert Config.fromstring(printed, '.py').to_dict() == Config.fromfile(udl[0]).to_dict()


@pytest.mark.parametrize('metric', ['AccMetric', 'ClassAccuracyMetric'])
def test_eval_metric_agrees_with_the_scores(monkeypatch, capsys, udl, tmp_path, metric):
    config, _, predictions = udl
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {str(config)!r}\ntest_evaluator = dict(_delete_=True, type={metric!r})\n')
    assert run(monkeypatch, THEIRS / 'analysis_tools' / 'eval_metric.py', path, predictions) == 0
    top1, mean1 = accuracies(predictions)
    printed = re.findall(r"'(acc/\w+)': (?:np.float64\()?([\d.]+)", capsys.readouterr().out)
    found = {name: float(value) for name, value in printed}
    assert (found['acc/top1'], found['acc/mean1']) == (pytest.approx(top1), pytest.approx(mean1))


def test_report_accuracy_agrees_with_the_scores(monkeypatch, capsys, udl):
    tool, predictions = THEIRS / 'analysis_tools' / 'report_accuracy.py', udl[2]
    assert run(monkeypatch, tool, '--preds', predictions, '--coefficients', 1) == 0
    top1, mean1 = accuracies(predictions)
    said = capsys.readouterr().out
    assert f'Mean Class Accuracy: {mean1:.4f}' in said and f'Top 1 Accuracy: {top1:.4f}' in said


def test_confusion_matrix_counts_each_clip(monkeypatch, udl, tmp_path):
    config, _, predictions = udl
    out = tmp_path / 'matrix.pkl'
    tool = THEIRS / 'analysis_tools' / 'confusion_matrix.py'
    assert run(monkeypatch, tool, config, predictions, '--out', out) == 0
    matrix = pickle.loads(out.read_bytes())
    assert matrix.sum() == 8 and matrix.trace() / 8 == pytest.approx(accuracies(predictions)[0])


def test_clip_feature_extraction_writes_what_the_neck_hands_on(monkeypatch, udl, tmp_path):
    config, work_dir, _ = udl
    tool = THEIRS / 'misc' / 'clip_feature_extraction.py'
    videos = tmp_path / 'list.txt'
    videos.write_text(''.join(f'{i}.mp4 {i % 2}\n' for i in range(8)))
    names = ['--video-list', videos, '--video-root', config.parent / 'videos']
    assert run(monkeypatch, tool, config, work_dir / 'epoch_2.pth', tmp_path / 'out', *names) == 0
    model = init_recognizer(str(config), str(work_dir / 'epoch_2.pth'), device='cpu')
    dataset = DATASETS.build(model.cfg.test_dataloader.dataset)
    batch = model.data_preprocessor(pseudo_collate([dataset[5]]), False)
    with torch.no_grad():
        neck = model(**batch, mode='tensor', stage='neck')
        backbone = model(**batch, mode='tensor')
        head = model(**batch, mode='tensor', stage='head')
    assert neck.shape == backbone.shape and not torch.equal(neck, backbone)
    torch.testing.assert_close(pickle.loads((tmp_path / 'out' / '5.mp4.pkl').read_bytes()), neck.mean((2, 3, 4))[0])
    torch.testing.assert_close(model.cls_head.fc_cls(neck.mean((2, 3, 4))), head)


def test_flops_are_those_of_the_neurons_that_are_active():
    counted = {}
    for num_neurons in (2, 8):
        model = build_recognizer(dtype=torch.float32, neck=dict(num_neurons=num_neurons)).eval()
        model.forward = model.extract_feat  # as get_flops does
        counted[num_neurons] = get_model_complexity_info(model, (1, 3, 4, 8, 8))
    # A score for each neuron is all that more of them cost.
    assert counted[8]['flops'] < 1.01 * counted[2]['flops']
    assert counted[8]['params'] > 2 * counted[2]['params']
