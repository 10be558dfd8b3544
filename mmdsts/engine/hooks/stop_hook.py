"""Ending a training on request without losing it: SIGTERM, Ctrl-C, a data worker that died."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS

from .checkpoint_hook import DurableCheckpointHook
from .random_state_hook import RandomStateHook

#: A launcher hands on a signal that its processes may have had already; within this many seconds it counts once.
SAME_REQUEST = 1.0


@HOOKS.register_module()
class StopHook(Hook):
    """Save a checkpoint and end when asked to, between two iterations.

    On SIGTERM (cluster, container, ``kill``) and SIGINT (Ctrl-C) the iteration is finished, where gradients are
    accumulated the window of them, a checkpoint ``interrupted.pth`` is saved, and the process ends with status
    128 + the signal's number. ``resume`` goes on after the last iteration. A second Ctrl-C ends at once. A data
    worker that dies, which ends a run of MMEngine in the middle of whatever it does, ends it in the same way, by the
    error that torch raises.

    All processes of a distributed run end together: they agree after each iteration. Needs a
    :class:`DurableCheckpointHook` to save, and the main thread to hear signals; it does nothing without.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        #: Whether the run is between two iterations, where it can be saved as it stands.
        self.between = False
        self._signal: int | None = None
        self._since = 0.0
        self._worker_error: RuntimeError | None = None
        self._previous: dict[int, object] = {}
        self._pid = os.getpid()

    # -- signals ------------------------------------------------------------------------------------------------------

    def before_train(self, runner) -> None:
        """Listen to signals."""
        self._runner = runner
        self._checkpoints = next((h for h in runner.hooks if isinstance(h, DurableCheckpointHook)), None)
        if self._checkpoints is not None and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._on_request)

    def after_train(self, runner) -> None:
        """Leave signals to whom they were left before."""
        self.between = False
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _is_training(self, frame: FrameType | None) -> bool:
        """Whether the run is still going on: no hook is told of an error that has ended it, in a notebook say."""
        while frame is not None:
            if frame.f_code.co_name == 'train' and frame.f_locals.get('self') is self._runner:
                return True
            frame = frame.f_back
        return False

    def _on_request(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data worker, which has inherited this handler
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return  # Ctrl-C reaches workers, too: their process needs them to end its iteration
        if not self._is_training(frame):
            self._stop_listening()
            os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        if self._signal is None:
            self._signal, self._since = number, now
            # Not by the logger: it may be what was interrupted.
            os.write(2, f'\n{signal.Signals(number).name}: saving after this iteration, then ending\n'.encode())
        elif number == signal.SIGINT and now - self._since > SAME_REQUEST:
            raise KeyboardInterrupt
        if self.between and get_world_size() == 1:
            self._end(number)

    def _guard_workers(self) -> None:
        """Put ourselves before torch's handler for dead data workers, which it sets up with the first of them."""
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, 'SIGCHLD') else None
        if callable(handler) and signal.SIGCHLD not in self._previous and self._previous:
            self._previous[signal.SIGCHLD] = handler
            signal.signal(signal.SIGCHLD, self._on_child)

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        if not self._is_training(frame):
            handler = self._previous[number]
            self._stop_listening()
            handler(number, frame)
            return
        try:
            self._previous[number](number, frame)
        except RuntimeError as error:
            if not self.between:
                self._worker_error = self._worker_error or error  # raised when the iteration is done
                return
            self.save()
            raise

    # -- where the run stands -----------------------------------------------------------------------------------------

    def before_train_epoch(self, runner) -> None:
        """Between epochs a run can end."""
        self._between(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Within an iteration it cannot."""
        self.between = False
        self._guard_workers()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """After it, it can, unless gradients are being accumulated."""
        if getattr(runner.optim_wrapper, 'should_update', lambda: True)():
            self._between(runner)

    def before_val(self, runner) -> None:
        """In a validation there may be other weights in the model (EMA)."""
        self.between = False

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """A validation can be left where nothing is lost with it but itself."""
        if self._signal is not None and (self._is_saved() or not any(isinstance(h, EMAHook) for h in runner.hooks)):
            self._end(self._signal)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """And after it in any case."""
        if self._signal is not None:
            self._end(self._signal)

    def after_val(self, runner) -> None:
        """The iteration-based loop waits for its next batch now."""
        hook = self._checkpoints if self._previous else None
        self.between = hook is not None and not hook.by_batches(runner) and hook.iters_done < runner.max_iters

    def _between(self, runner) -> None:
        hook = self._checkpoints
        if hook is None:
            return
        number = self._agreed()
        if number:
            self._end(number, together=True)
        # At the end of an epoch its hooks come next, which save by themselves.
        rest = (
            len(runner.train_dataloader) - hook.batches_done
            if hook.by_batches(runner)
            else runner.max_iters - hook.iters_done
        )
        self.between = rest > 0
        # Looked at only now: what comes from here on finds the run between two iterations.
        if self._worker_error is not None:
            self.save()
            raise self._worker_error
        if self._signal is not None and self.between and get_world_size() == 1:
            self._end(self._signal)  # it came just now

    def _agreed(self) -> int:
        """The signal that any process has got, 0 for none."""
        if get_world_size() == 1:
            return self._signal or 0
        number = torch.tensor(self._signal or 0)
        all_reduce(number, op='max')
        return int(number)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _is_saved(self) -> bool:
        return self._checkpoints is None or self._checkpoints.iters_saved == self._checkpoints.iters_done

    def save(self, together: bool = False) -> str | None:
        """Save where the run stands, if that is not saved yet.

        Args:
            together: All processes call this. Defaults to False, with which the random state of the first one alone is
                saved.

        Returns:
            What to tell the user.

        Raises:
            CheckpointError: It cannot be written.
        """
        hook, self.between = self._checkpoints, False
        if hook is None:
            return None
        if not self._is_saved():
            if together:
                for other in self._runner.hooks:
                    if isinstance(other, RandomStateHook):
                        other.gather(self._runner)
            path = hook.save_interrupted(self._runner)
            if together:
                barrier()  # one that has ended may make a launcher end the one that writes
        elif hook.iters_done == 0:
            return 'No iteration was done: there is nothing to save.'
        else:
            path = hook.last_ckpt or self._runner._load_from
        return f'Training is saved up to iteration {hook.iters_done} in {path}: resume (--resume) to go on.'

    def _end(self, number: int, together: bool = False) -> None:
        self._stop_listening()
        told = self.save(together)
        if is_main_process():
            self._runner.logger.warning(f'Ended by {signal.Signals(number).name}. {told or ""}')
        if not together:
            # As after a traceback: compat.end_process_group does not wait for processes that may be gone.
            sys.last_type = SystemExit
        raise SystemExit(128 + number)


def save_after_failure(runner) -> str | None:
    """Save a run that an error has ended between two iterations, as a video that cannot be read does.

    Args:
        runner: The runner, whose ``train()`` has raised.

    Returns:
        What to tell the user; ``None`` if the run stands where it cannot be saved, or has no :class:`StopHook`.

    Raises:
        CheckpointError: It cannot be written.
    """
    hook = next((h for h in runner.hooks if isinstance(h, StopHook)), None)
    if hook is None:
        return None
    between = hook.between
    hook.after_train(runner)
    return hook.save() if between and hook._checkpoints is not None else None
