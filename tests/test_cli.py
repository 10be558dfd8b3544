from __future__ import annotations

import argparse

import pytest
from mmengine.config import Config

from mmdsts.cli import CfgOptions, use_durable_hooks


@pytest.mark.parametrize('content', [{}, dict(default_hooks={}), dict(default_hooks=None)])
def test_a_config_without_default_hooks_gets_the_durable_ones(content):
    # All are configs that MMEngine trains.
    cfg = Config(content)
    use_durable_hooks(cfg)
    assert {name: hook['type'] for name, hook in cfg.default_hooks.items()} == dict(
        checkpoint='DurableCheckpointHook', stop='StopHook', finite='FiniteHook'
    )
    assert cfg.default_hooks.checkpoint.interval == 1


def test_hooks_that_a_config_names_or_leaves_out_are_kept():
    cfg = Config(dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=7), stop=None)))
    use_durable_hooks(cfg)
    assert cfg.default_hooks.checkpoint == dict(type='DurableCheckpointHook', interval=7)
    assert cfg.default_hooks.stop is None
    assert 'finite' in cfg.default_hooks


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('my videos', 'my videos'),
        ('"/disk/my videos (2020)"', '/disk/my videos (2020)'),
        (' 3 ', 3),
        ('None', None),
        ('(1, 2)', (1, 2)),
        ('[(a, b), [c, 1.5]]', [('a', 'b'), ['c', 1.5]]),
        ('1, 2', [1, 2]),
        ('', ''),
    ],
)
def test_values_of_options(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions)
    assert parser.parse_args(['--cfg-options', f'a.b={text}', 'c=1']).cfg_options == {'a.b': value, 'c': 1}
