import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config

from mmdsts.deployment import load_deployed
from mmdsts.deployment.check import answer
from tests.tools.tiny_run import write

TOOL = Path(__file__).parents[2] / 'tools' / 'deploy.py'


def _run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def trained(tmp_path):
    config = write(tmp_path / 'data')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'trained.pth')
    return config, tmp_path / 'trained.pth', model


def test_pytorch_checkpoint_and_its_config(trained, tmp_path, monkeypatch, capsys):
    config, checkpoint, model = trained
    _run(monkeypatch, config, checkpoint, tmp_path / 'out' / 'small.pth', '--check')
    assert '5 of 5 active neurons are the same' in capsys.readouterr().out
    x = torch.randint(256, (3, 1, 3, 4, 32, 32), dtype=torch.uint8)
    expected = answer(model, x)
    torch.testing.assert_close(answer(load_deployed(tmp_path / 'out' / 'small.pth'), x).scores, expected.scores)
    rebuilt = MODELS.build(Config.fromfile(tmp_path / 'out' / 'small.py').model)
    rebuilt.load_state_dict(torch.load(tmp_path / 'out' / 'small.pth', weights_only=True)['state_dict'])
    torch.testing.assert_close(answer(rebuilt, x).scores, expected.scores)


def test_mistakes_end_with_a_message(trained, tmp_path, monkeypatch, capsys):
    config, checkpoint, _ = trained
    for args, message in [
        ((config, checkpoint, tmp_path / 'small.bin'), 'must end in .pth, .onnx, .pt2'),
        ((config, checkpoint, tmp_path / 'small.pth', '--format', 'onnx'), 'must end in .onnx'),
        ((config, tmp_path / 'none.pth', tmp_path / 'small.pth'), 'none.pth: no such file'),
        ((config, checkpoint, tmp_path / 'small.pth', '--cfg-options', 'model.neck.num_neurons=5'), 'does not fit'),
        ((config, checkpoint, tmp_path / 'small.pth', '--cfg-options', 'model.neck=None'), 'does not fit'),
        (
            (config, checkpoint, tmp_path / 'small.pth', '--cfg-options', 'model.neck.num_neurons=0'),
            'must be at least 1',
        ),
    ]:
        with pytest.raises(SystemExit) as stop:
            _run(monkeypatch, *args)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
