from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdsts.footage.backbone import PRETRAINED, find_backbone
from mmdsts.footage.config import Recipe, write_config
from mmdsts.footage.measure import Measures

FLAGSHIPS = {'slowonly_r50': 'dsts_finegym_noudl.py', 'tsm_r50': 'dsts_tsm_finegym.py'}


def config(folder, backbone='slowonly_tiny', **changes):
    recipe = Recipe(
        title='mine',
        folder=folder,
        root=Path('/videos'),
        splits=dict(train=320, val=80),
        classes=['jump', 'run'],
        measures=Measures(1.0, 25.0, 320, 240, 9, []),
        backbone=find_backbone(backbone),
        model=dict(cls_head=dict(num_classes=2), neck=dict(type='DSTSNeck', in_channels=64)),
        clip_len=8,
        size=(80, 48),
        batch_size=16,
        workers=1,
        epochs=None,
        udl=False,
    )._replace(**changes)
    (folder / 'mine.py').write_text(write_config(recipe))
    return Config.fromfile(folder / 'mine.py')


def kinds(pipeline):
    return [step.type for step in pipeline]


def test_a_small_network_learns_from_scratch(tmp_path):
    cfg = config(tmp_path)
    assert cfg.train_cfg.max_epochs == 50  # of 20 steps
    assert cfg.param_scheduler[0].total_steps == 50
    assert cfg.get('load_from') is None
    train = cfg.train_dataloader
    assert (train.batch_size, train.dataset.ann_file) == (16, f'{tmp_path}/train.csv')
    assert train.dataset.type == 'VideoTableDataset' and train.dataset.data_prefix.video == '/videos'
    assert train.dataset.pipeline[1] == dict(type='UniformSample', clip_len=8)
    assert 'Flip' in kinds(train.dataset.pipeline) and 'Flip' not in kinds(cfg.val_dataloader.dataset.pipeline)
    assert cfg.val_dataloader.dataset.test_mode and not train.dataset.get('test_mode')
    assert cfg.test_dataloader.dataset.ann_file == cfg.val_dataloader.dataset.ann_file
    low, high = train.dataset.pipeline[3].aspect_ratio_range
    assert low < 80 / 48 < high


@pytest.mark.parametrize('backbone', PRETRAINED)
def test_a_pretrained_network_starts_from_the_weights_of_our_configs(tmp_path, backbone):
    cfg = config(tmp_path, backbone, udl=True)
    flagship = Config.fromfile(Path(__file__).parents[2] / 'configs' / FLAGSHIPS[backbone])
    assert cfg.load_from == flagship.load_from
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(flagship.optim_wrapper.optimizer.lr / 2)  # half the batch
    assert cfg.optim_wrapper.type == 'UDLOptimWrapper' and cfg.train_cfg.type == 'UDLEpochBasedTrainLoop'
    ends = [scheduler.end for scheduler in cfg.param_scheduler]
    assert ends == [3, 30] and cfg.train_cfg.max_epochs == 30
    ours = cfg.train_dataloader.dataset.pipeline
    theirs = flagship.train_dataloader.dataset.pipeline
    assert ours[1] == theirs[1]  # frames are sampled as there
    assert ours[-2].input_format == theirs[-2].input_format


@pytest.mark.parametrize('epochs', [1, 2, 30])
def test_each_scheduler_of_a_pretrained_network_has_epochs(tmp_path, epochs):
    spans = [(each.begin, each.end) for each in config(tmp_path, 'slowonly_r50', epochs=epochs).param_scheduler]
    assert spans == {1: [(0, 1)], 2: [(0, 1), (1, 2)], 30: [(0, 3), (3, 30)]}[epochs]


def test_folders_may_have_quotes_in_their_names(tmp_path):
    folder = tmp_path / 'Ann\'s "best" Größe, 1'
    folder.mkdir()
    cfg = config(folder, root=folder)
    assert cfg.train_dataloader.dataset.ann_file == f'{folder}/train.csv'
    assert cfg.train_dataloader.dataset.data_prefix.video == str(folder)


def test_sides_are_not_mirrored_and_a_third_list_is_tested(tmp_path):
    cfg = config(
        tmp_path, classes=['turn Left', 'turn right'], splits=dict(train=9, val=2, test=2), workers=0, epochs=3
    )
    assert 'Flip' not in kinds(cfg.train_dataloader.dataset.pipeline)
    assert cfg.test_dataloader.dataset.ann_file == f'{tmp_path}/test.csv'
    assert cfg.val_dataloader.dataset.ann_file == f'{tmp_path}/val.csv'
    assert not cfg.val_dataloader.persistent_workers
    assert cfg.train_cfg.max_epochs == 3
