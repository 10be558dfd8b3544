"""One backbone forward for two steps: what the simulated step recorded, the actual step replays.

Both steps see the same batch with the same downstream parameters and the same noise, so the backbone's
outputs are the same too. While a tape is in use, a stand-in takes the backbone's place in the recognizer;
the recognizer does not notice, so no subclass of it is needed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, ContextManager, Iterator, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..model_loss import reject_reentrant_checkpointing
from ..random_state import RandomState

#: Methods by which MMAction2's recognizers run backbones of MMAction2, torchvision and timm.
FEATURE_METHODS = ('forward', 'features', 'forward_features')


@dataclass
class BackboneTape:
    """Outputs of a backbone for one batch.

    Args:
        model: The recognizer. It calls the backbone once or several times in a forward, always the same way.
        name: Attribute of the recognizer that holds the backbone.

    Attributes:
        outputs: Recorded tensors that depend on the backbone's parameters, each with what the recognizer got for it.

    Note:
        A recording leaves the buffers of the backbone alone. The first :meth:`replay` of an attached
        recording moves them (batch-norm statistics), since it is the actual step's forward.
    """

    model: nn.Module
    name: str = 'backbone'
    outputs: list[tuple[Tensor, Tensor]] = field(init=False, default_factory=list)
    _calls: list[_Call] = field(init=False, default_factory=list)
    _buffers: dict[str, Tensor] = field(init=False, default_factory=dict)

    @contextmanager
    def record(self, detach: bool, leaves: bool = False) -> Iterator[None]:
        """Run the backbone with its graph and keep what it returns.

        Args:
            detach: Whether the recognizer gets constants (``scope='neck'``) or the graph too.
            leaves: Whether the detached features require a gradient, to be pulled back through the graph. Defaults to
                False.

        Raises:
            RuntimeError: The recognizer did not run the backbone, or gradients cannot be pulled back.
        """
        backbone = self.model._modules[self.name]
        self._calls, self._buffers = [], _copies(backbone)

        def call(method: str, *args, **kwargs) -> Any:
            before = RandomState.capture() if leaves else None  # for again
            out = _run(backbone, method, self._buffers, args, kwargs)
            given = _detached(out, leaves) if detach else out
            self._calls.append(_Call(method, args, kwargs, before, out, given, RandomState.capture()))
            return given

        with self._stand_in(call):
            yield
        if not self._calls:
            raise RuntimeError(
                f"{type(self.model).__name__} did not run its '{self.name}' through one of "
                f"{FEATURE_METHODS}, so its features cannot be shared between UDL's steps; set "
                "udl=dict(backbone=None, scope='full')"
            )
        self.outputs = [
            pair
            for call in self._calls
            for pair in zip(_tensors(call.output), _tensors(call.given))
            if pair[0].requires_grad
        ]
        if leaves:
            for out, _ in self.outputs:
                reject_reentrant_checkpointing(out)

    def record_once(self) -> ContextManager:
        """The features as constants: recorded the first time, then replayed."""
        return self.replay(detach=True) if self._calls else self.record(detach=True)

    @contextmanager
    def replay(self, detach: bool) -> Iterator[None]:
        """Return what was recorded, and continue the random stream where it stood after the recorded call.

        Args:
            detach: As for :meth:`record`. False also moves the backbone's buffers to where the recording took them.
        """
        calls = iter(self._calls)

        def call(method: str, *args, **kwargs) -> Any:
            entry = next(calls, None)
            if entry is None:
                raise RuntimeError(
                    f"{type(self.model).__name__} ran its '{self.name}' more often than in "
                    "the simulated step; set udl=dict(backbone=None, scope='full')"
                )
            entry.random_state_after.restore()
            return _detached(entry.output) if detach else entry.output

        with self._stand_in(call):
            yield
        if not detach:
            with torch.no_grad():
                for name, buffer in self.model._modules[self.name].named_buffers():
                    buffer.copy_(self._buffers[name])

    @contextmanager
    def constant(self) -> Iterator[None]:
        """Run the backbone without gradients, in its present mode, on copies of its buffers; record nothing."""
        backbone = self.model._modules[self.name]
        buffers = _copies(backbone)

        def call(method: str, *args, **kwargs) -> Any:
            with torch.no_grad():
                return _run(backbone, method, buffers, args, kwargs)

        with self._stand_in(call):
            yield

    def again(self, parameters: dict[str, Tensor]) -> list[Tensor]:
        """Run the recorded calls with other parameters, the same noise and copies of the buffers.

        Recorded with ``leaves=True``. It leaves the random generators where the last call takes them.

        Returns:
            Tensors in the order of :attr:`outputs`.
        """
        backbone = self.model._modules[self.name]
        state, found = {**_copies(backbone), **parameters}, []
        for call in self._calls:
            call.random_state_before.restore()
            out = _tensors(_run(backbone, call.method, state, call.args, call.kwargs))
            found += [t for t, recorded in zip(out, _tensors(call.output)) if recorded.requires_grad]
        return found

    @contextmanager
    def _stand_in(self, call: Callable) -> Iterator[None]:
        backbone = self.model._modules[self.name]
        self.model._modules[self.name] = _StandIn(backbone, call)
        try:
            yield
        finally:
            self.model._modules[self.name] = backbone


class _Call(NamedTuple):
    method: str
    args: tuple
    kwargs: dict
    random_state_before: RandomState | None
    output: Any
    given: Any
    random_state_after: RandomState


class _StandIn(nn.Module):
    """Looks like a backbone, but hands its calls to ``call(method, *args)``; the rest is the backbone's."""

    def __init__(self, backbone: nn.Module, call: Callable) -> None:
        super().__init__()
        # Past nn.Module.__setattr__: as a submodule it would add the backbone's names to functional_call.
        self.__dict__['_backbone'] = backbone
        self.__dict__['_call'] = call
        self.training = backbone.training

    def forward(self, *args, **kwargs) -> Any:
        return self._call('forward', *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__['_backbone'], name)
        return partial(self.__dict__['_call'], name) if name in FEATURE_METHODS else value


class _Method(nn.Module):
    """A method of a module as the ``forward`` that :func:`functional_call` can call."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module = module
        self.method = method

    def forward(self, *args, **kwargs) -> Any:
        # `forward` through __call__, so that the hooks of the backbone run.
        function = self.module if self.method == 'forward' else getattr(self.module, self.method)
        return function(*args, **kwargs)


def _run(backbone: nn.Module, method: str, buffers: dict[str, Tensor], args: tuple, kwargs: dict) -> Any:
    state = {f'module.{name}': buffer for name, buffer in buffers.items()}
    return functional_call(_Method(backbone, method), state, args, kwargs)


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def _tensors(output: Any) -> list[Tensor]:
    """All tensors of a structure, in a fixed order."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = output.values()
    elif not isinstance(output, (list, tuple)):
        return []
    return [t for value in output for t in _tensors(value)]


def _detached(output: Any, leaves: bool = False) -> Any:
    """The same structure of tensors, without their graph; leaves require a gradient where the originals do."""
    if isinstance(output, Tensor):
        return output.detach().requires_grad_(leaves and output.requires_grad)
    if isinstance(output, dict):
        return {key: _detached(value, leaves) for key, value in output.items()}
    if isinstance(output, (list, tuple)):
        values = [_detached(value, leaves) for value in output]
        return type(output)(*values) if hasattr(output, '_fields') else type(output)(values)
    return output
