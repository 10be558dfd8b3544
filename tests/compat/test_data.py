from __future__ import annotations

import pytest
from mmengine.runner import Runner

from .points import Points


@pytest.mark.parametrize(
    'options',
    [dict(persistent_workers=True), dict(prefetch_factor=4), dict(timeout=60), dict(multiprocessing_context='fork')],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize('none', [dict(num_workers=0), {}], ids=['zero', 'left out'])
def test_options_about_workers_are_dropped_where_there_are_none(options, none):
    config = dict(dataset=Points(), batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False), **options)
    loader = Runner.build_dataloader({**config, **none})
    assert len(list(loader)) == 2
    assert set(config) >= set(options)  # the config is left as it was
    kept = Runner.build_dataloader({**config, 'num_workers': 1})
    for name in options:
        assert getattr(kept, name), name
