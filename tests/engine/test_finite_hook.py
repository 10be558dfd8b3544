"""A batch that is not finite ends a training by a line that names it, and spoils nothing."""

import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from torch.utils.data import DataLoader

from .runs import ToyClips
from .test_checkpoint_hook import durable, same, weights


def with_nan(size=12, index=5):
    """A loader whose sample ``index`` has two values that are not finite."""
    data = ToyClips(size, augment=False)
    data.inputs[index, 0, 0, 0, 0, :2] = torch.tensor([float('nan'), float('inf')])
    return DataLoader(data, batch_size=4, sampler=DefaultSampler(data, shuffle=False), collate_fn=pseudo_collate)


@pytest.mark.parametrize(
    ('plain', 'place'),
    [(False, 'iteration 1: batch 0 of epoch 1, its held-out batch'), (True, 'iteration 2: batch 1 of epoch 1')],
    ids=['udl', 'plain'],
)
def test_input_is_looked_at_before_it_is_trained_on(tmp_path, plain, place):
    runner = durable(tmp_path, plain=plain, train_dataloader=with_nan())
    states = []
    runner.hooks[0].before_train_epoch = runner.hooks[0].after_train_iter = (
        lambda runner, *args, **kwargs: states.append(weights(runner))
    )
    with pytest.raises(
        FloatingPointError,
        match=rf'{place}, sample 1 \(5\): its input has 2 values that are not finite'
        r'\. Nothing was trained on it\. .*--resume',
    ):
        runner.train()
    assert same(weights(runner), states[-1])


@pytest.mark.parametrize('broken', [True, False])
def test_a_loss_that_is_not_finite_is_the_end_where_the_weights_are(tmp_path, broken):
    runner = durable(tmp_path, plain=True, epochs=1)
    head = runner.model.cls_head
    compute = head.loss_by_feat

    def spoiled(*args, **kwargs):
        losses = compute(*args, **kwargs)
        if runner.iter == 1:  # an infinite loss has no gradient here, one that is no number has
            losses['loss_cls'] = losses['loss_cls'] * float('nan') if broken else losses['loss_cls'] + float('inf')
        return losses

    head.loss_by_feat = spoiled
    if broken:
        with pytest.raises(FloatingPointError, match=r'iteration 2: .*loss_cls is nan.* tensors of weights are not'):
            runner.train()
        assert not list(tmp_path.glob('*.pth'))
    else:
        runner.train()
        log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
        assert 'loss_cls is inf; the weights are finite, training goes on' in log
