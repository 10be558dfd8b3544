import copy

import pytest
import torch
from mmengine.utils import digit_version

import mmdsts
from mmdsts.deployment import ExportError, export_onnx, export_program
from mmdsts.deployment.check import answer, answer_of_file, compare
from mmdsts.deployment.path import ScoringPath
from mmdsts.models import DSTSNeck

from .small_models import CLIPS, CLIPS_SHAPE, FRAMES, FRAMES_SHAPE, build, pixels

pytestmark = pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.6'), reason='needs torch >= 2.6')
RECOGNIZERS = [
    pytest.param(CLIPS, CLIPS_SHAPE, id='3d'),
    pytest.param(FRAMES, FRAMES_SHAPE, id='2d', marks=pytest.mark.slow),
]


def _neck():
    torch.manual_seed(0)
    neck = DSTSNeck(12, 2, 4, hidden_channels=6, zero_init=False)
    neck(_features())
    return neck.eval()


def _features(batch=7):
    torch.manual_seed(2)
    return torch.randn(batch, 12, 3, 5, 5).relu()


def test_the_gathered_form_equals_the_grouped_one():
    neck, x = _neck(), _features()
    grouped = mmdsts.deploy(neck)
    out, active = ScoringPath(neck)(x)
    torch.testing.assert_close(out, grouped(x)[0], rtol=0, atol=1e-5)
    assert torch.equal(active, grouped.last_active)
    assert len(active.unique()) > 2


def test_program_of_a_neck_takes_any_batch_size():
    neck, x = _neck(), _features()
    program = export_program(neck, (12, 3, 5, 5))
    for batch in (1, 2, 7):
        expected = neck(x[:batch])[0]
        out, active = program.module()(x[:batch])
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
        assert torch.equal(active, neck.last_active)


@pytest.mark.parametrize(('config', 'shape'), RECOGNIZERS)
def test_path_and_program_of_a_recognizer(config, shape, tmp_path):
    model, x = build(config, shape), pixels(shape)
    torch.export.save(export_program(model, shape), tmp_path / 'model.pt2')
    for batch in (1, 4):
        expected = answer(model, x[:batch])
        found = answer_of_file(tmp_path / 'model.pt2', 'export', x[:batch])
        torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
        assert torch.equal(found.active, expected.active)
    assert len(expected.active.unique()) > 1


def test_onnx_of_a_neck(tmp_path):
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    neck, x = _neck(), _features()
    export_onnx(neck, tmp_path / 'neck.onnx', (12, 3, 5, 5))
    session = onnxruntime.InferenceSession(str(tmp_path / 'neck.onnx'), providers=['CPUExecutionProvider'])
    for batch in (1, 7):
        expected = neck(x[:batch])[0]
        out, active = session.run(['features', 'active'], {'inputs': x[:batch].numpy()})
        torch.testing.assert_close(torch.from_numpy(out), expected, rtol=0, atol=1e-5)
        assert active.tolist() == neck.last_active.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(('config', 'shape'), RECOGNIZERS)
def test_onnx_of_a_recognizer(config, shape, tmp_path):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    model, x = build(config, shape), pixels(shape)
    export_onnx(model, tmp_path / 'model.onnx', shape)
    for batch in (1, 4):
        difference, disagreeing, _ = compare(
            answer(model, x[:batch]), answer_of_file(tmp_path / 'model.onnx', 'onnx', x[:batch])
        )
        assert difference < 1e-5
        assert disagreeing == 0


class _Choosy(torch.nn.Module):
    """A backbone whose way depends on the data."""

    def forward(self, x):
        return x.mean(1, keepdim=True).expand(-1, 32, -1, -1, -1) * (2 if x.sum() > 0 else 1)


def test_errors_name_the_part():
    model = build(CLIPS, CLIPS_SHAPE)
    with pytest.raises(ExportError, match=r'shape \(2, 3, 4, 32, 32\).*input_shape=\(3, 4, 32, 32\) seems wrong'):
        export_program(model, (3, 4, 32, 32))
    choosy = copy.deepcopy(model)
    choosy.backbone = _Choosy()
    with pytest.raises(ExportError, match='backbone _Choosy cannot be exported'):
        export_program(choosy, CLIPS_SHAPE)
    looping = copy.deepcopy(model)
    looping.test_cfg = dict(max_testing_views=2)
    with pytest.raises(ExportError, match='max_testing_views=2'):
        export_program(looping, CLIPS_SHAPE)
    headless = copy.deepcopy(model)
    del headless.cls_head
    with pytest.raises(ExportError, match='Recognizer3D has no cls_head'):
        export_program(headless, CLIPS_SHAPE)
    mixed = copy.deepcopy(model)
    mixed.data_preprocessor.format_shape = 'MIX2d3d'
    with pytest.raises(ExportError, match="format_shape='MIX2d3d'"):
        export_program(mixed, CLIPS_SHAPE)
    with pytest.raises(ExportError, match='Sequential is neither'):
        export_program(torch.nn.Sequential(model.neck), CLIPS_SHAPE)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr('mmdsts.deployment.export.find_spec', lambda name: None)
    with pytest.raises(ExportError, match='pip install onnx onnxscript'):
        export_onnx(_neck(), tmp_path / 'neck.onnx', (12, 3, 5, 5))
