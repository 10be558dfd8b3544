"""What a layer reports of a training step, so that one sees whether it learns to decide (METHOD 1, known dangers)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .routing import Routing, activation_share, largest_pulse


def layer_report(routing: Routing, gate: Tensor) -> dict[str, Tensor]:
    """Figures of one layer and one batch, by the names they are logged under.

    A new quantity is one more entry: :class:`~mmdsts.models.DSTSNeck` logs a scalar as ``NAME/l{layer}`` and a
    value for each neuron as ``NAME/l{layer}_n{neuron}``. A name with ``loss`` in it would be added to the loss.

    ============== ===================================================================================
    ``share``      share of the samples that activated each neuron, shape ``(N,)``
    ``agreement``  share of the samples that activated the neuron that the test would choose, that of the
                   largest pulse; a router whose noise decides has about ``1 / N``
    ``entropy``    entropy of ``share`` over ``log N``: 1 where all neurons are used alike, 0 where one
                   takes the whole batch
    ``temporal``   share of channels that the test would send to the temporal operator
    ``flipped``    share of gates that noise sent to another operator than in the test
    ============== ===================================================================================

    The last two are means over the samples, each with the gates of its own neuron. A layer of one neuron has
    nothing to choose and leaves out the first three; one in evaluation mode leaves out ``flipped``.

    Args:
        routing: What the layer decided for the batch.
        gate: Gate parameters, shape ``(N, C)``.

    Returns:
        Detached tensors on the device of ``gate``, in a fixed order.
    """
    share = activation_share(routing)
    decided = gate.detach() > 0
    report = {}
    if len(gate) > 1:
        report['share'] = share
        report['agreement'] = (routing.index == largest_pulse(routing.pulse)).to(share.dtype).mean()
        report['entropy'] = torch.special.entr(share).sum() / math.log(len(gate))
    report['temporal'] = (share * decided.to(share.dtype).mean(dim=1)).sum()
    if routing.gates is not None:
        # Half way also tells apart the soft values that ``soft_prob`` lets through.
        flipped = (routing.gates.detach() > 0.5) != decided
        report['flipped'] = (share * flipped.to(share.dtype).mean(dim=1)).sum()
    return report
