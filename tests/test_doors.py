"""The ways into a model that MMAction2 offers give what its own test gives."""

import copy
from pathlib import Path

import pytest
import torch
from mmaction.apis import MMAction2Inferencer, inference_recognizer, init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config

from mmdsts.evaluation.samples import score_of

from .test_configs import reduce, videos  # noqa: F401  videos is a fixture

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=['dsts_finegym', 'dsts_tsm_finegym'])
def run(request, tmp_path, videos):  # noqa: F811
    """Config, checkpoint and a video."""
    cfg = reduce(Config.fromfile(str(ROOT / 'configs' / f'{request.param}.py')), tmp_path, videos)
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(copy.deepcopy(cfg.model)).state_dict()), tmp_path / 'model.pth')
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # as in the config that was made smaller
    cfg.dump(str(tmp_path / 'config.py'))
    return str(tmp_path / 'config.py'), str(tmp_path / 'model.pth'), str(sorted(videos.glob('*.mp4'))[0])


def test_inferencer_and_functions_agree(run):
    config, checkpoint, video = run
    model = init_recognizer(config, checkpoint, device='cpu')
    sample = inference_recognizer(model, video)
    assert score_of(sample).sum() == pytest.approx(1)
    assert [index.shape[0] for index in model.neck.last_active][0] >= 1

    found = MMAction2Inferencer(rec=config, rec_weights=checkpoint, device='cpu')(video)['predictions'][0]
    assert found['rec_labels'] == [[int(score_of(sample).argmax())]]
    assert found['rec_scores'][0] == pytest.approx(score_of(sample).tolist(), abs=1e-6)
