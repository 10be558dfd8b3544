from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdsts.cli import UsageError, merge_options
from mmdsts.variables import change_variables

CONFIGS = Path(__file__).parents[1] / 'configs'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def merged(name, **options):
    cfg = Config.fromfile(str(CONFIGS / name))
    merge_options(cfg, options)
    return cfg


@pytest.mark.parametrize('root', ['/my/finegym/', '/my/finegym'])
def test_data_root_reaches_every_file_of_every_loader(root):
    cfg = merged('dsts_finegym.py', data_root=root)
    for loader, part in zip(LOADERS, ('train_element_v1.1', 'val_element', 'val_element')):
        dataset = cfg[loader].dataset
        assert dataset.ann_file == f'/my/finegym/annotations/gym99_{part}.txt'
        assert dataset.categories_file == '/my/finegym/annotations/gym99_categories.txt'
        assert dataset.sets_file == '/my/finegym/annotations/set_categories.txt'
        assert dataset.data_prefix.video == '/my/finegym/clips'
    assert cfg.data_root == root


def test_one_option_takes_whole_videos_instead_of_clips():
    for name in ('dsts_finegym.py', 'dsts_finegym288.py', 'dsts_tsm_finegym.py'):
        cfg = merged(name, data_root='/my/finegym/', clips='/disk/videos')
        for loader in LOADERS:
            assert cfg[loader].dataset.data_prefix.video == '/disk/videos'
            assert cfg[loader].dataset.ann_file.startswith('/my/finegym/annotations/')
            steps = [step.type for step in cfg[loader].dataset.pipeline]
            assert steps[0] == 'ClipInit' and steps[2] == 'ClipDecode'


@pytest.mark.parametrize('name', sorted(path.name for path in CONFIGS.glob('*.py')))
def test_no_config_keeps_its_old_root(name):
    old = Config.fromfile(str(CONFIGS / name)).data_root
    cfg = merged(name, data_root='/elsewhere')
    assert old not in str([cfg[loader] for loader in LOADERS])


def test_the_longest_path_and_then_the_setting_itself_decide():
    cfg = merged(
        'dsts_finegym.py',
        data_root='/a',
        clips='/fast/clips',
        ann_file_train='mine.txt',
        **{'val_dataloader.dataset.ann_file': 'theirs.txt'},
    )
    assert {cfg[loader].dataset.data_prefix.video for loader in LOADERS} == {'/fast/clips'}
    assert [cfg[loader].dataset.ann_file for loader in LOADERS] == [
        'mine.txt',
        'theirs.txt',
        '/a/annotations/gym99_val_element.txt',
    ]


def test_only_whole_parts_of_a_path_are_replaced():
    paths = dict(a='data/gym', b='data/gym/x', c='data/gym288/x', d='my/data/gym')
    cfg = Config(dict(root='data/gym', loaders=[paths]))
    change_variables(cfg, dict(root='s3://gym'))
    assert cfg.loaders[0] == dict(a='s3://gym', b='s3://gym/x', c='data/gym288/x', d='my/data/gym')


@pytest.mark.parametrize(
    ('options', 'settings'),
    [
        (dict(missing='error'), "'skip' are: train_dataloader.dataset.missing, val_dataloader.dataset.missing, test_"),
        (dict(max_epochs=1), '30 are: train_cfg.max_epochs, param_scheduler.1.end'),
        (dict(dataset_type='Diving48Dataset'), "'FineGymDataset' are: train_dataloader.dataset.type"),
    ],
)
def test_other_variables_are_refused_with_the_settings_made_from_them(options, settings):
    with pytest.raises(UsageError, match=f'is a variable of the config file, .* with its value {settings}'):
        merged('dsts_finegym.py', **options)


def test_a_path_that_was_made_into_something_else_is_refused():
    cfg = Config(dict(root='data/gym', loader=dict(a='data/gym_clips')))
    with pytest.raises(UsageError, match=r"root=/b: root is a variable .*with its value 'data/gym' are: loader\.a"):
        change_variables(cfg, dict(root='/b'))


def test_what_mmengine_or_somebody_else_reads_stays_as_it_is():
    text = Config.fromfile(str(CONFIGS / 'dsts_finegym.py')).train_dataloader
    cfg = merged(
        'dsts_finegym.py',
        load_from='a/b.pth',
        work_dir='w',
        log_level='ERROR',
        new='data/finegym/',
        max_epochs=30,
        sync_bn='torch',
    )
    assert (cfg.load_from, cfg.log_level, cfg.new) == ('a/b.pth', 'ERROR', 'data/finegym/')
    assert cfg.train_dataloader == text
    own = Config(dict(read_by_a_hook=7, other=dict(a=8)))
    merge_options(own, dict(read_by_a_hook=9))
    assert own.read_by_a_hook == 9
