"""A resumed run is the run that never stopped."""

import pytest
import torch
from mmengine.utils import digit_version

from .runs import VALIDATION, build_runner, full_state, loader
from .test_optim_wrapper import build_wrapper
from .toy_recognizer import build_recognizer, changed


@pytest.mark.parametrize('heldout', [False, True], ids=['next', 'own_loader'])
@pytest.mark.parametrize(
    ('by', 'workers'),
    [
        ('epochs', 0),
        pytest.param('epochs', 1, marks=pytest.mark.slow),
        ('iters', 0),
        ('iters_mid_pass', 0),
        pytest.param('iters_mid_pass', 1, marks=pytest.mark.slow),
    ],
)
def test_resume_is_bit_identical(tmp_path, by, workers, heldout):
    """With validation in between, EMA, momentum, a schedule, and augmentation from the global generators."""
    by_epoch = by == 'epochs'
    stop = dict(epochs=6, iters=6, iters_mid_pass=4)[by]
    train_cfg = dict(val_interval=1 if by_epoch else 2)
    if heldout:
        train_cfg['heldout_dataloader'] = loader(size=8, num_workers=workers)
    settings = dict(
        train_dataloader=loader(num_workers=workers),
        train_cfg=train_cfg,
        val_dataloader=loader(4),
        **VALIDATION,
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=by_epoch, end=4 if by_epoch else 9)],
        custom_hooks=[dict(type='EMAHook')],
    )
    settings.update(dict(epochs=4) if by_epoch else dict(iters=11))
    results = []
    for interrupted in (False, True):
        work_dir = tmp_path / str(interrupted)
        if interrupted:
            stopping = [*settings['custom_hooks'], dict(type='StopAfter', iters=stop)]
            runner = build_runner(work_dir, **dict(settings, custom_hooks=stopping))
            runner.train_loop_by_epoch = by_epoch
            with pytest.raises(KeyboardInterrupt):
                runner.train()
            runner = build_runner(work_dir, **settings, resume=True)
        else:
            runner = build_runner(work_dir, **settings)
        runner.train()
        results.append(full_state(runner))
    difference = max(float((v - results[1][k]).abs().max()) for k, v in results[0].items() if v is not None)
    print(f'{by} workers={workers} heldout={heldout}: resumed - never stopped: {difference}')
    assert not changed(*results)
    assert runner.iter == (12 if by_epoch else 11)


def test_resume_without_random_state_warns(tmp_path, caplog):
    build_runner(tmp_path, epochs=1).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)  # our own file
    assert len(checkpoint.pop('random_state')) == 1
    torch.save(checkpoint, path)
    runner = build_runner(tmp_path, epochs=2, resume=True, log_level='INFO')
    runner.train()
    log = '\n'.join(p.read_text() for p in tmp_path.glob('*/*.log'))
    assert 'The checkpoint holds no random state' in log


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason='safe loading reads no checkpoint of MMEngine before torch 2.6',
)
def test_checkpoint_loads_with_weights_only(tmp_path):
    build_runner(tmp_path, epochs=1).train()
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    assert checkpoint['optimizer']['udl'] == dict(skipped=0, inner_scale=dict(value=1.0, accepted=0))


def test_resuming_a_plain_run_is_an_error():
    model = build_recognizer()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match='written without UDL.*load_from'):
        build_wrapper(model).load_state_dict(plain.state_dict())
