"""Learning rates of u and d, each with a schedule of its own."""

import pytest

from .runs import build_runner, full_state, read_log
from .test_optim_wrapper import INNER_LR, LR, build_wrapper
from .toy_recognizer import build_recognizer, changed


def test_schedulers_of_their_own(tmp_path):
    runner = build_runner(
        tmp_path,
        epochs=3,
        optim_wrapper=dict(udl=dict(upstream_lr=0.8)),
        param_scheduler=[
            dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True),
            dict(
                type='GroupScheduler', group='upstream', policy='MultiStepLR', milestones=[2], gamma=0.5, by_epoch=True
            ),
        ],
    )
    runner.train()
    log = read_log(tmp_path)
    assert [line['lr'] for line in log[::3]] == pytest.approx([0.05, 0.005, 0.005])
    assert [line['base_lr'] for line in log[::3]] == pytest.approx([0.05, 0.005, 0.005])
    assert [line['upstream_lr'] for line in log[::3]] == pytest.approx([0.8, 0.08, 0.04])


def test_inner_lr_follows_the_schedule_unless_it_is_given():
    model = build_recognizer()
    wrapper = build_wrapper(model, udl=dict(inner_lr=None))
    wrapper.bind(model)
    for group in wrapper.optimizer.param_groups:
        group['lr'] *= 0.5
    assert set(wrapper._inner_rates().values()) == {LR / 2}
    assert build_wrapper(model)._inner_rates() == INNER_LR


def test_auto_scale_lr_scales_both(tmp_path):
    runner = build_runner(
        tmp_path,
        epochs=1,
        optim_wrapper=dict(udl=dict(upstream_lr=0.8)),
        auto_scale_lr=dict(enable=True, base_batch_size=16),
    )
    runner.train()
    log = read_log(tmp_path)
    assert log[0]['lr'] == pytest.approx(0.05 / 4)
    assert log[0]['upstream_lr'] == pytest.approx(0.8 / 4)


def test_one_cycle_for_each_kind(tmp_path):
    """A schedule that sets rates, changed every iteration, and resumed."""
    cycle = dict(total_steps=4, by_epoch=True, convert_to_iter_based=True)
    settings = dict(
        epochs=4,
        param_scheduler=[
            dict(type='GroupScheduler', group='downstream', policy='OneCycleLR', eta_max=0.1, **cycle),
            dict(type='GroupScheduler', group='upstream', policy='OneCycleLR', eta_max=0.4, **cycle),
        ],
    )
    results = []
    for stop in (None, 6):
        work_dir = tmp_path / str(stop)
        if stop is not None:
            runner = build_runner(work_dir, **settings, custom_hooks=[dict(type='StopAfter', iters=stop)])
            runner.train_loop_by_epoch = True
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        runner = build_runner(work_dir, **settings, resume=stop is not None)
        runner.train()
        results.append(full_state(runner))
    assert not changed(*results)
    log = read_log(tmp_path / 'None')
    assert max(line['lr'] for line in log) > 0.09
    assert all(line['upstream_lr'] == pytest.approx(4 * line['lr']) for line in log)
