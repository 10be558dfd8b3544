"""Pictures of what the neurons specialized in."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from matplotlib.figure import Figure
from torch import Tensor


def draw_activations(counts: Tensor, class_names: Sequence[str], out: str | Path) -> Path:
    """Draw, for each layer, which share of a class's samples activated each neuron.

    Args:
        counts: Shape ``(L, num_classes, N)``, see :class:`~mmdsts.analysis.routing.RoutingRecordHook`.
        class_names: A name for each class.
        out: Picture file; its ending chooses the format.

    Returns:
        ``out`` as a path.
    """
    layers, classes, neurons = counts.shape
    shares = counts / counts.sum(dim=2, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(4 + layers * (0.6 + 0.35 * neurons), 1.2 + 0.24 * classes), layout='constrained')
    axes = figure.subplots(1, layers, squeeze=False)[0]
    for number, (ax, share) in enumerate(zip(axes, shares)):
        image = ax.imshow(share.numpy(), vmin=0, vmax=1, cmap='viridis', aspect='auto')
        ax.set(title=f'layer {number}', xlabel='neuron', xticks=range(neurons), yticks=range(classes))
        ax.set_yticklabels(class_names if number == 0 else [''] * classes, fontsize=7)
    figure.colorbar(image, ax=list(axes), label="share of the class's clips")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    return out
