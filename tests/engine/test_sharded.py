"""What shards a model or its optimizer is refused when the run is built."""

import pytest
import torch
import torch.distributed as dist
from mmengine.optim import build_optim_wrapper
from mmengine.runner import FlexibleRunner
from mmengine.utils import digit_version

from .runs import run_config
from .toy_recognizer import build_recognizer

UDL = dict(type='UDLOptimWrapper', constructor='UDLOptimWrapperConstructor')

pytestmark = pytest.mark.skipif(not dist.is_available(), reason='torch was built without distributed')


@pytest.fixture
def group(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_zero(group):
    optimizer = dict(type='ZeroRedundancyOptimizer', optimizer_type='SGD', lr=0.1)
    with pytest.raises(ValueError, match='does not work with ZeroRedundancyOptimizer.*DistributedDataParallel'):
        build_optim_wrapper(build_recognizer(dtype=torch.float32), dict(UDL, optimizer=optimizer))


@pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.1'), reason='FSDP on a CPU needs torch >= 2.1')
def test_fsdp(group):
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel(
        build_recognizer(dtype=torch.float32, neck=dict(pulse='mean')), device_id=torch.device('cpu')
    )
    with pytest.raises(ValueError, match='does not work with FullyShardedDataParallel.*all parameters'):
        build_optim_wrapper(model, dict(UDL, optimizer=dict(type='SGD', lr=0.1)))


def test_strategies(tmp_path):
    settings = run_config(tmp_path)
    known = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'work_dir', 'default_scope')
    runner = FlexibleRunner(**{name: settings[name] for name in known}, experiment_name='strategies')
    with pytest.raises(ValueError, match='does not work with FlexibleRunner'):
        runner.train()
