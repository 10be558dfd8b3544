"""Deployment: a trained model made smaller and faster, for PyTorch, ONNX and ``torch.export`` (METHOD 1)."""

from .checkpoint import deployed_config, load_deployed, save_deployed
from .conversion import deploy
from .deployed_neck import DeployedDSTSNeck
from .errors import ExportError
from .export import export_onnx, export_program

__all__ = [
    'DeployedDSTSNeck',
    'ExportError',
    'deploy',
    'deployed_config',
    'export_onnx',
    'export_program',
    'load_deployed',
    'save_deployed',
]
