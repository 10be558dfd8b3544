"""A checkpoint of an earlier version: its weights mean what they meant, and its run goes on.

``tests/fixtures/checkpoints/udl_epoch_1.pth`` is what ``build_runner(..., epochs=1, **SETTINGS)`` left.
"""

from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.utils import digit_version

from mmdsts.evaluation.samples import score_of

from .runs import build_runner, loader
from .toy_recognizer import make_batch, recognizer_config

pytestmark = pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason='safe loading reads no checkpoint of MMEngine before torch 2.6',
)

CHECKPOINT = Path(__file__).parent.parent / 'fixtures' / 'checkpoints' / 'udl_epoch_1.pth'
MODEL = recognizer_config(
    norm='group',
    neck=dict(num_layers=1, num_neurons=2, hidden_channels=3, balance_weight=0.0, norm_cfg=dict(type='BN3d')),
)
SETTINGS = dict(model=MODEL, train_dataloader=loader(size=8))


def test_weights_give_the_scores_they_gave():
    model = MODELS.build(MODEL).eval()
    model.load_state_dict(torch.load(CHECKPOINT, weights_only=True)['state_dict'])
    with torch.no_grad():
        samples = model(**model.data_preprocessor(make_batch(dtype=torch.float32), False), mode='predict')
    scores = torch.stack([score_of(sample) for sample in samples])
    expected = [
        [0.311150, 0.315289, 0.373562],
        [0.311861, 0.315620, 0.372519],
        [0.311419, 0.315528, 0.373053],
        [0.311097, 0.315267, 0.373636],
    ]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=0, atol=1e-5)
    assert model.neck.last_active.tolist() == [[1, 0, 0, 1]]


def test_its_run_goes_on(tmp_path):
    runner = build_runner(tmp_path, epochs=2, resume=True, load_from=str(CHECKPOINT), **SETTINGS)
    runner.train()
    assert runner.iter == 4
    assert (tmp_path / 'epoch_2.pth').exists()
    before = torch.load(CHECKPOINT, weights_only=True)['state_dict']
    after = runner.model.state_dict()
    assert all(
        not torch.equal(after[name], before[name]) for name in ('neck.layers.0.neurons.0.score', 'backbone.conv.weight')
    )
