from __future__ import annotations

import pytest
import torch

from mmdsts import compat

from .interpreter import python


@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
def test_launcher_without_gpu_uses_gloo(monkeypatch):
    from mmengine.dist import utils

    started = {}
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kwargs: started.update(kwargs))
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    utils._init_dist_pytorch('nccl', timeout=5)
    assert started == dict(backend='gloo', timeout=5)
    with pytest.raises(ValueError, match="init_backend is 'deepspeed', which needs a GPU"):
        utils._init_dist_pytorch('nccl', init_backend='deepspeed')


@pytest.mark.skipif(torch.cuda.is_available(), reason='repairs the launcher on machines without a GPU')
@pytest.mark.parametrize('failed, group', [(False, 'ended'), (True, 'up')])
def test_process_group_ends_before_the_interpreter_unless_it_failed(failed, group, tmp_path):
    printed = python(f"""
        import atexit, sys
        import torch.distributed as dist
        # What is registered first runs last.
        atexit.register(lambda: print('up' if dist.is_initialized() else 'ended'))
        import mmdsts
        from mmengine.dist import utils
        utils._init_dist_pytorch('nccl', init_method='file://{tmp_path}/store', rank=0, world_size=1)
        print(dist.get_backend())
        if {failed}:
            sys.last_type = ValueError
    """)
    assert printed == ['gloo', group]


def test_launcher_is_left_alone_on_a_gpu(monkeypatch):
    import mmengine.device
    from mmengine.dist import utils

    monkeypatch.setattr(mmengine.device, 'get_device', lambda: 'cuda')
    stock = getattr(utils._init_dist_pytorch, '__wrapped__', utils._init_dist_pytorch)
    monkeypatch.setattr(utils, '_init_dist_pytorch', stock)
    assert compat.patch_cpu_launcher() is False
    assert utils._init_dist_pytorch is stock
