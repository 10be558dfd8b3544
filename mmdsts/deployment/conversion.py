"""From a trained model to one that only answers."""

from __future__ import annotations

import copy

from torch import nn

from mmdsts.models.neck import DSTSNeck

from .deployed_neck import DeployedDSTSNeck


def deploy(model: nn.Module) -> nn.Module:
    """Copy of a model for inference, its DSTS necks pruned and folded (METHOD 1, "Test time").

    Gates are frozen and each operator is reduced to the channels that it reads, norms are folded into it,
    and the scoring kernels with the normalisation of the pulses collapse to one small matrix. The copy
    gives the outputs of ``model.eval()`` up to rounding, and the same active neurons. ``model`` itself is
    left as it is.

    Args:
        model: A recognizer or any other module that contains a :class:`~mmdsts.models.DSTSNeck`, or such a
            neck itself.

    Returns:
        The copy, in evaluation; in the place of each DSTS neck is a
        :class:`~mmdsts.deployment.DeployedDSTSNeck`.

    Raises:
        ValueError: If there is no DSTS neck in ``model``, or its norm depends on the other samples of a
            batch.

    Examples:
        >>> import mmdsts, torch
        >>> from mmdsts.models import DSTSNeck
        >>> neck = DSTSNeck(in_channels=16, num_layers=2, num_neurons=4).eval()
        >>> x = torch.rand(2, 16, 4, 7, 7)
        >>> bool(torch.allclose(mmdsts.deploy(neck)(x)[0], neck(x)[0], atol=1e-4))
        True
    """
    # Through the memo the copy takes the deployed neck for the neck: its neurons, the bulk of a model, are
    # never copied.
    memo = {
        id(module): DeployedDSTSNeck.from_neck(module) for module in model.modules() if isinstance(module, DSTSNeck)
    }
    if not memo:
        deployed = any(isinstance(module, DeployedDSTSNeck) for module in model.modules())
        raise ValueError(
            f'{type(model).__name__} contains no DSTSNeck'
            + (': it is deployed already' if deployed else ', so there is nothing to deploy')
        )
    copied = copy.deepcopy(model, memo)
    # The necks refuse training mode, so evaluation is set on the whole.
    return copied.eval()
