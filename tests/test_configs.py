"""Every config trains and tests on small made-up videos, at a reduced size and without pretrained weights."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path

import cv2
import mmaction
import numpy as np
import pytest
import torch
from mmaction.models.backbones import ResNetTSM
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))
if 'pretrained2d' not in inspect.signature(ResNetTSM).parameters:  # MMAction2 1.0; the config says so
    CONFIGS = [path for path in CONFIGS if 'tsm' not in path.stem]
CLIPS = 4


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """A folder of clips under FineGym names."""
    folder = tmp_path_factory.mktemp('videos')
    rng = np.random.default_rng(0)
    for i in range(CLIPS):
        writer = cv2.VideoWriter(
            str(folder / f'madeUpVid{i:02d}_E_000000_000009_A_0000_0001.mp4'),
            cv2.VideoWriter_fourcc(*'mp4v'),
            25,
            (64, 64),
        )
        for _ in range(20):
            writer.write(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        writer.release()
    return folder


def write_lists(folder, videos, kind, num_classes):
    """Annotation files of the made-up videos, by the argument of the dataset class that they are for."""
    names = sorted(path.stem for path in videos.glob('*.mp4'))
    files = {
        key: folder / key for key in ('ann_file', 'categories_file', 'classes_file', 'sets_file', 'vocabulary_file')
    }
    if kind == 'Diving48Dataset':
        entries = [dict(vid_name=name, label=i, start_frame=0, end_frame=9) for i, name in enumerate(names)]
        files['ann_file'].write_text(json.dumps(entries))
    else:
        suffix = '.mp4' if kind.startswith('Video') else ''
        files['ann_file'].write_text('\n'.join(f'{name}{suffix} {i}' for i, name in enumerate(names)))
    files['categories_file'].write_text(
        '\n'.join(f'Clabel: {i}; set: 1; Glabel: {i}; element {i}' for i in range(num_classes))
    )
    files['classes_file'].write_text('\n'.join(f'element {i}' for i in range(num_classes)))
    files['sets_file'].write_text('set: 1; all')
    files['vocabulary_file'].write_text(json.dumps([['Back', f'{i}som', 'No', 'TUCK'] for i in range(48)]))
    return files


@pytest.fixture(autouse=True)
def _no_pretty_printing(monkeypatch):
    """Formatting the config for the log takes longer than all the rest."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: str(self._cfg_dict)))


def reduce(cfg, folder, videos):
    """The made-up videos, 64 pixels, a ResNet-18 and narrow layers; nothing downloaded."""
    cfg.work_dir = str(folder / 'work_dir')
    cfg.load_from = None
    model = cfg.model
    if model.backbone.depth == 50:
        model.backbone.depth = 18
        channels = 512
        if model.type == 'Recognizer3D':
            model.backbone.base_channels = 8
            channels = 64
        model.cls_head.in_channels = channels
        if 'neck' in model:
            model.neck.update(in_channels=channels, hidden_channels=8, num_neurons=3)
    if cfg.train_dataloader.dataset.type == 'VideoTableDataset':
        model.cls_head.num_classes = CLIPS  # which is for the user to say
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        data = loader.dataset
        for key, path in write_lists(folder, videos, data.type, model.cls_head.num_classes).items():
            if key in data:
                data[key] = str(path)
        data.data_prefix.video = str(videos)
        for step in data.pipeline:
            if step.type == 'Resize':
                step.scale = (-1, 64) if step.scale[0] == -1 else (64, 64)
            elif 'crop_size' in step:
                step.crop_size = 64
    cfg.train_cfg.update(max_epochs=1, val_begin=1, val_interval=1)
    cfg.randomness = dict(seed=0)
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_trains_and_tests(path, videos, tmp_path):
    cfg = reduce(Config.fromfile(str(path)), tmp_path, videos)
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.model.init_weights = lambda: None  # so that what changes from here on is training
    runner.train()
    changed = {
        name.split('.')[0] for name, value in runner.model.named_parameters() if not torch.equal(value, before[name])
    }
    assert changed == {name for name in ('backbone', 'neck', 'cls_head') if name in cfg.model}
    assert runner.iter == CLIPS // 2
    assert runner.param_schedulers  # at their full length, of which one epoch was run

    metrics = runner.test()
    assert set(metrics) >= {'acc/top1', 'acc/top5', 'acc/mean1'}
    assert metrics['acc/num_classes'] == CLIPS  # the mean is over these, not over all classes of the data set
    assert ('acc/within_set' in metrics) == ('sets_file' in cfg.test_dataloader.dataset)
    best = list((tmp_path / 'work_dir').glob('best_acc_mean1_epoch_1.pth'))
    assert len(best) == 1  # the mean class accuracy selects
    meta = torch.load(best[0], map_location='cpu')['meta']['dataset_meta']
    if 'FineGym' in path.stem or 'finegym' in path.stem:
        assert meta['classes'][0] == 'element 0'


MADE_HERE = ('toygym', 'toygym_noudl', 'toygym_finetune', 'grid_digits', 'video_folder')
PRETRAINED = [path for path in CONFIGS if not path.stem.endswith(MADE_HERE)]


def published(address):
    """The config that made the weights, and the metafile that lists them, of the installed MMAction2."""
    folder = Path(mmaction.__file__).parent / '.mim' / 'configs' / 'recognition' / address.split('/')[-3]
    if not folder.is_dir():
        pytest.skip('this MMAction2 comes without its configs (.mim)')
    return folder / f'{address.split("/")[-2]}.py', folder / 'metafile.yml'


@pytest.mark.parametrize('path', PRETRAINED, ids=lambda path: path.stem)
def test_pretrained_weights_are_published_ones_that_fit(path):
    cfg = Config.fromfile(str(path))
    config, metafile = published(cfg.load_from)
    assert f'Weights: {cfg.load_from}\n' in metafile.read_text()
    theirs = Config.fromfile(str(config)).model.backbone
    with torch.device('meta'):  # shapes only
        shapes = [
            {name: value.shape for name, value in MODELS.build(backbone).state_dict().items()}
            for backbone in (cfg.model.backbone, theirs)
        ]
    assert shapes[0] == shapes[1]


def test_pretrained_weights_reach_the_backbone(videos, tmp_path):
    cfg = reduce(Config.fromfile(str(CONFIGS[0].parent / 'dsts_finegym_noudl.py')), tmp_path, videos)
    pretrained = copy.deepcopy(cfg.model)
    pretrained.pop('neck')
    pretrained.cls_head.num_classes = 400  # a head that does not fit, as that of Kinetics-400
    weights = MODELS.build(pretrained).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'pretrained.pth')
    cfg.load_from = str(tmp_path / 'pretrained.pth')
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    for name, value in runner.model.backbone.state_dict().items():
        torch.testing.assert_close(value, weights[f'backbone.{name}'])
    assert runner.model.cls_head.fc_cls.weight.shape == (99, 64)
