"""Random generators in checkpoints, so that a resumed run is the run that never stopped."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from ..random_state import RandomState

KEY = 'random_state'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Save the random generators of every process with a checkpoint, and put them back on resume.

    Validation leaves the generators as it found them: otherwise a run resumed from a checkpoint that was
    saved before the validation of its epoch would go on with other numbers. The UDL train loops add this
    hook by themselves.

    Exact for a run with a fixed seed that resumes at the end of an epoch (epoch-based) or after any iteration
    (iteration-based). Data workers must not outlive an epoch (``persistent_workers=False``), or their
    generators, which no checkpoint holds, go on where a resumed run's start anew; in an iteration-based run
    they live as long as the run and are wound forward.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        #: State to continue with, for the loop to take once its loaders stand where they stood.
        self.resumed: dict[str, Any] | None = None
        self._gathered: tuple[int, list] | None = None
        self._before_val: RandomState | None = None

    def before_val(self, runner) -> None:
        """Remember the generators: they are what a checkpoint of the best score in this validation shall hold."""
        self._before_val = RandomState.capture()
        self.gather(runner)

    def after_val(self, runner) -> None:
        """Put them back."""
        if self._before_val is not None:
            self._before_val.restore()
            self._before_val = None

    def after_train_epoch(self, runner) -> None:
        """Have the states of all processes, since only the first of them saves."""
        self.gather(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """The same where a checkpoint by iterations is due."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch]
        if any(self.every_n_train_iters(runner, hook.interval) for hook in hooks) or (
            hooks and self.is_last_train_iter(runner)
        ):
            self.gather(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the states, one entry a process."""
        fresh = self._gathered is not None and self._gathered[0] == runner.iter
        checkpoint[KEY] = self._gathered[1] if fresh else [self._state(runner)]

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep this process's state until the loop takes it."""
        if not runner._resume:
            return
        states = checkpoint.get(KEY)
        if states is None or len(states) != get_world_size():
            found = 'no random state' if states is None else f'the random state of {len(states)} process(es)'
            print_log(
                f'The checkpoint holds {found}, this run has {get_world_size()} process(es): training '
                'goes on, but not as if it had never stopped',
                logger='current',
                level=logging.WARNING,
            )
            return
        state = states[get_rank()]
        fetch = {kind: RandomState.from_state_dict(s) for kind, s in state['fetch'].items()}
        self.resumed = dict(now=RandomState.from_state_dict(state['now']), fetch=fetch)

    def take(self) -> dict[str, Any] | None:
        """Hand out the resumed state once: ``now`` and, by kind, the states before data was fetched in
        advance.
        """
        resumed, self.resumed = self.resumed, None
        return resumed

    def gather(self, runner) -> None:
        """Collect the states of all processes, which all call this, for a checkpoint of this iteration."""
        if get_world_size() > 1:
            self._gathered = (runner.iter, all_gather_object(self._state(runner)))

    def _state(self, runner) -> dict[str, Any]:
        fetch = getattr(runner.train_loop, 'fetch_states', {})
        return dict(
            now=(self._before_val or RandomState.capture()).state_dict(),
            fetch={kind: state.state_dict() for kind, state in fetch.items()},
        )
