"""One pass over a data set: which neuron each clip activates, and what the model says with other neurons."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from mmdsts.engine.backbone import BackboneTape
from mmdsts.errors import UsageError
from mmdsts.evaluation.samples import label_of, score_of
from mmdsts.models import DSTSLayer, DSTSNeck
from mmdsts.models.routing import largest_pulse

#: How the active neuron of a sample is replaced: by the one of the next largest pulse, or by any other one.
RULES = ('runner_up', 'random')


class Record(NamedTuple):
    """What one pass over ``n`` clips of ``V`` views says of a neck of ``L`` layers of ``N`` neurons; numpy arrays.

    Attributes:
        labels: Class of each clip, shape ``(n,)``.
        predictions: Class that the model gives it, shape ``(n,)``.
        active: Active neuron of each view, shape ``(L, n, V)``.
        leads: How far a neuron's pulse lies above the largest of the others, mean over views, shape ``(L, n, N)``:
            positive for the active neuron only, if there is one view.
        replaced: By rule (:data:`RULES`), the classes given where the active neuron of layer ``j`` is replaced, shape
            ``(L + 1, n)``; the last row is with those of all layers replaced at once.
    """

    labels: np.ndarray
    predictions: np.ndarray
    active: np.ndarray
    leads: np.ndarray
    replaced: dict[str, np.ndarray]

    @property
    def num_neurons(self) -> int:
        """Neurons of a layer, ``N``."""
        return self.leads.shape[2]

    @property
    def neurons(self) -> np.ndarray:
        """Neuron that most views of a clip activate (of several the first), shape ``(L, n)``."""
        votes = np.stack([(self.active == i).sum(axis=2) for i in range(self.num_neurons)], axis=2)
        return votes.argmax(axis=2)


def find_neck(model: nn.Module) -> DSTSNeck:
    """The one neck of a model.

    Raises:
        UsageError: There is none, there are several, or its layers have one neuron, which has nothing to choose.
    """
    necks = [module for module in model.modules() if isinstance(module, DSTSNeck)]
    if len(necks) != 1:
        raise UsageError(
            f'the model of the config has {len(necks)} necks of type DSTSNeck, expected one: there is '
            'nothing to say about specialization without it'
        )
    if necks[0].num_neurons == 1:
        raise UsageError('the neck has num_neurons=1, a static layer; expected several neurons to compare')
    return necks[0]


def collect(
    model: nn.Module,
    dataset: Dataset,
    *,
    indices: Sequence[int] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Record:
    """Test a recognizer on a data set, as it is and with its active neurons replaced.

    The backbone runs once on each clip. Where a layer's neurons are replaced, later layers choose anew, from what they
    get then.

    Args:
        model: Recognizer in evaluation mode, with one :class:`DSTSNeck`.
        dataset: MMAction2 data set of single-label clips.
        indices: Which clips to take. Defaults to None: all of them.
        batch_size: Clips at a time. Defaults to 1, which also fits ``test_cfg.max_testing_views``.
        num_workers: Processes that decode. Defaults to 0.
        seed: Seed of the random neurons, one draw for each view. Defaults to 0.
        on_progress: Called with the clips done so far. Defaults to None.

    Returns:
        The record, clips in the order of ``indices``.

    Raises:
        UsageError: See :func:`find_neck`; or a clip has several labels.
    """
    layers = list(find_neck(model).layers)
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        dataset if indices is None else Subset(dataset, indices),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )
    batches: list[dict[str, Tensor]] = []
    done = 0
    with torch.no_grad():
        for batch in loader:
            data = model.data_preprocessor(batch, False)
            batches.append(_test(model, data, layers, generator))
            done += len(data['data_samples'])
            if on_progress is not None:
                on_progress(done)

    def joined(key: str, dim: int = -1) -> np.ndarray:
        return torch.cat([batch[key] for batch in batches], dim=dim).numpy()

    replaced = {rule: joined(rule) for rule in RULES}
    return Record(joined('labels'), joined('predictions'), joined('active', 1), joined('leads', 1), replaced)


@contextmanager
def neurons_replaced(layer: DSTSLayer, rule: str, generator: torch.Generator | None = None) -> Iterator[None]:
    """Let a layer in evaluation mode use another neuron for each sample than the one of the largest pulse.

    Args:
        layer: The layer, with two neurons or more.
        rule: ``'runner_up'``: the neuron of the next largest pulse; ``'random'``: any but the active one, each equally
            likely.
        generator: Source of the random neurons, on the CPU. Defaults to None, torch's own.

    Raises:
        ValueError: ``rule`` is neither.
    """
    if rule not in RULES:
        raise ValueError(f'rule must be one of {RULES}, got {rule!r}')

    def replace(module: nn.Module, inputs: tuple, pulse: Tensor) -> Tensor:
        others = pulse if rule == 'runner_up' else torch.rand(pulse.shape, generator=generator).to(pulse)
        return others.scatter(1, largest_pulse(pulse)[:, None], -torch.inf)

    handle = layer.pulse.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _test(
    model: nn.Module, data: dict[str, Any], layers: list[DSTSLayer], generator: torch.Generator
) -> dict[str, Tensor]:
    """One batch, as it is and with neurons replaced; last axes are clips, but those of ``leads``."""
    tape = BackboneTape(model)
    pulses: list[list[Tensor]] = [[] for _ in layers]
    with ExitStack() as stack:
        for layer, seen in zip(layers, pulses):
            handle = layer.pulse.register_forward_hook(lambda module, inputs, out, seen=seen: seen.append(out.cpu()))
            stack.callback(handle.remove)
        stack.enter_context(tape.record(detach=True))
        labels, predictions = _predict(model, data)
    # A neck may run several times on the views of a clip.
    pulse = torch.stack([torch.cat(seen) for seen in pulses]).float()
    # Several views of a clip lie side by side.
    pulse = pulse.unflatten(1, (len(labels), -1))
    result = dict(labels=labels, predictions=predictions, active=largest_pulse(pulse), leads=_leads(pulse).mean(dim=2))
    for rule in RULES:
        replaced = []
        for chosen in [[layer] for layer in layers] + [layers]:
            with ExitStack() as stack:
                for layer in chosen:
                    stack.enter_context(neurons_replaced(layer, rule, generator))
                stack.enter_context(tape.replay(detach=True))
                replaced.append(_predict(model, data)[1])
        result[rule] = torch.stack(replaced)
    return result


def _predict(model: nn.Module, data: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Labels and predicted classes of a preprocessed batch."""
    labels, predictions = [], []
    for sample in model(**data, mode='predict'):
        label = label_of(sample)
        if label.numel() != 1:
            raise UsageError(f'a clip has {label.numel()} labels; expected a data set with one class a clip')
        labels.append(label.reshape(()).cpu())
        predictions.append(score_of(sample).argmax().cpu())
    return torch.stack(labels), torch.stack(predictions)


def _leads(pulse: Tensor) -> Tensor:
    """Each pulse less the largest of the others along the last axis."""
    best = pulse.topk(2, dim=-1)
    runner_up = torch.where(pulse == best.values[..., :1], best.values[..., 1:], best.values[..., :1])
    return pulse - runner_up
