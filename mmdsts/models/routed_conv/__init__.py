"""The routed convolution: each sample through the masked operator of its active neuron (METHOD 1.4).

It computes ``sum_i y_i conv(m_i * x, W_i)`` with choice ``y``, masks ``m`` and operators ``W`` of ``N`` neurons
(:mod:`.literal` is that line), in value and in first and second derivatives, also towards the choice of neurons that
were not activated. UDL needs two derivatives; a third is an error. Neurons that no sample activated get no gradient
(``None``) in a first-order backward pass, so that no optimizer touches them (METHOD 1.5).

With a one-hot choice the sum has one term that is not zero, and ``conv(m * x, W) = conv(x, W * m)``. So forwards, and
backwards towards the input, it costs what one neuron costs, however many there are. What grows with ``N`` is the
gradient of the choice, ``<P_b, W_i * m_i>`` of every sample ``b`` and neuron ``i``, with ``P_b`` the gradient towards
the weights of a sample: one product with the weights of all neurons (:mod:`.weight_gradients`).

====================  ==================  ===============================================================
where                 path                what it does
====================  ==================  ===============================================================
CPU, large neurons    :mod:`.pruned`      each active neuron convolves its samples and the channels its
                                          mask lets in
CPU, small neurons;   :mod:`.selection`   weights of each sample selected, the samples groups of one
any other device                          convolution: many small ones would cost more in calls than in
                                          arithmetic (docs/performance.md)
====================  ==================  ===============================================================
"""

from __future__ import annotations

from typing import Sequence

from torch import Tensor

from .pruned import pruned_conv
from .selection import conv_per_sample, select_weights
from .weight_gradients import are_small

__all__ = ['routed_conv']


def routed_conv(x: Tensor, choice: Tensor, masks: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Convolve each sample with its active neuron's masked weights, stride 1, same size.

    Args:
        x: Shape ``(B, C_in, T, H, W)``.
        choice: One-hot rows of :func:`~mmdsts.models.routing.straight_through_gumbel`, shape ``(B, N)``.
        masks: Factors of the input channels, shape ``(N, C_in)``.
        weights: ``N`` tensors of one shape: ``(C_out, C_in, 1, 3, 3)`` or ``(C_out, C_in, 3, 1, 1)``.

    Returns:
        Shape ``(B, C_out, T, H, W)``.

    Raises:
        ValueError: If a row of ``choice`` is not one-hot.
    """
    if x.device.type == 'cpu' and not are_small(weights):
        return pruned_conv(x, choice, masks, weights)
    return conv_per_sample(x, select_weights(choice, masks, weights))
