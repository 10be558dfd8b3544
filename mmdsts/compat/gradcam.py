"""MMAction2's Grad-CAM on layers of a neck."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor


def patch_gradcam() -> bool:
    """Let MMAction2's ``GradCAM`` look at any layer of a neck.

    It takes the output of the layer for one tensor, which that of a ``DSTSLayer`` is not, and in a 2D recognizer for
    frames ``(B T, C, H, W)``, where the layers of a neck see clips ``(B, C, T, H, W)``: "too many values to unpack".

    Returns:
        bool: whether the class was changed by this call.
    """
    from mmaction.utils.gradcam_utils import GradCAM

    stock = GradCAM._register_hooks
    if hasattr(stock, '__wrapped__'):
        return False

    @functools.wraps(stock)
    def register_hooks(self: Any, layer_name: str) -> None:
        def keep(module: Any, args: Any, output: Any) -> None:
            output = output if isinstance(output, Tensor) else output[0]
            self.target_activations = _laid_out(output, self.is_recognizer2d).detach().clone()
            output.register_hook(keep_gradient)

        def keep_gradient(gradient: Tensor) -> None:
            self.target_gradients = _laid_out(gradient, self.is_recognizer2d).detach()

        module = self.model.get_submodule(layer_name.replace('/', '.'))
        module.register_forward_hook(keep)

    GradCAM._register_hooks = register_hooks
    return True


def _laid_out(output: Tensor, frames: bool) -> Tensor:
    return output.transpose(1, 2).flatten(0, 1) if frames and output.dim() == 5 else output
