"""The benchmark counts FLOPs by formulas that PyTorch publishes since 2.2."""

import torch
from mmengine.utils import digit_version

collect_ignore_glob = ['test_*.py'] if digit_version(torch.__version__) < digit_version('2.2') else []
