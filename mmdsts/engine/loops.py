"""Train loops that bring the optimizer wrapper a held-out batch (METHOD 2)."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Iterator

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from .heldout import HELDOUT_SEED_OFFSET, endless, with_next
from .hooks import RandomStateHook
from .optim_wrapper import UDLOptimWrapper
from .random_state import RandomState


class _UDLTrainLoop:
    """What the epoch- and the iteration-based loop share."""

    #: Batches of the coming epoch that an earlier run has trained on; ``DurableCheckpointHook`` sets it.
    batches_done = 0
    #: The held-out batch of this iteration, for hooks, which get the training batch alone.
    heldout_batch: Any = None

    def _prepare(self, heldout_dataloader: DataLoader | dict | None) -> None:
        runner = self.runner
        if hasattr(runner, 'strategy'):
            raise ValueError(
                f'UDL does not work with {type(runner).__name__}, whose strategy takes the training step into its own '
                'hands: use Runner (runner_type), with DistributedDataParallel on several GPUs'
            )
        if runner.cfg.get('compile'):
            raise ValueError(
                f"compile is {runner.cfg['compile']!r}, but MMEngine compiles the model's train_step, "
                'which UDL does not run. Set compile=False'
            )
        _put_constructor_around(runner)
        self._random_state_hook = next((h for h in runner.hooks if isinstance(h, RandomStateHook)), None)
        if self._random_state_hook is None:
            self._random_state_hook = RandomStateHook()
            runner.register_hook(self._random_state_hook)
        self.heldout_dataloader = heldout_dataloader
        if isinstance(heldout_dataloader, dict):
            self.heldout_dataloader = _built(runner, heldout_dataloader, HELDOUT_SEED_OFFSET)

    def _take_resumed(self) -> dict[str, Any] | None:
        resumed = self._random_state_hook.take()
        loader = self.dataloader
        if resumed is not None and loader.num_workers > 0 and getattr(loader, 'persistent_workers', False):
            print_log(
                'train_dataloader.persistent_workers=True: the generators of data workers are in no '
                'checkpoint, so random augmentation goes on otherwise than in a run that never stopped',
                logger='current',
                level=logging.WARNING,
            )
        return resumed

    def _train_on(self, batch_idx: int, data_batch: Any, heldout_batch: Any) -> None:
        """One iteration with its hooks; they see the training batch, as in MMEngine."""
        runner, self.heldout_batch = self.runner, heldout_batch
        runner.call_hook('before_train_iter', batch_idx=batch_idx, data_batch=data_batch)
        outputs = runner.optim_wrapper.train_step(runner.model, data_batch, heldout_batch)
        runner.call_hook('after_train_iter', batch_idx=batch_idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


@LOOPS.register_module()
class UDLEpochBasedTrainLoop(_UDLTrainLoop, EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop`` with a held-out batch for every batch.

    Args:
        runner: The runner.
        dataloader: The training loader or its config.
        heldout_dataloader: Loader or config of a loader of held-out batches. A built one keeps its sampler's
            seed, a config gets one of its own; its sampler is told the epoch too, and it starts anew with
            every training epoch. Its samples should not be in the training loader's batch at the same time:
            give it data of its own (``dataset.indices``, another list). Defaults to None: the next batch of
            the training loader, for the last batch the first of the epoch, so that no video is decoded for
            it. The two are disjoint but for samples that ``DefaultSampler`` repeats at the end of an epoch that
            processes cannot share evenly, and those that a data set repeats (``ClassBalancedDataset``).
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval``, ``dynamic_intervals`` of MMEngine's loop.

    Raises:
        TypeError: The optimizer wrapper is no :class:`UDLOptimWrapper`.
        ValueError: An epoch has one batch only and there is no held-out loader, or ``compile`` is on.
    """

    def __init__(
        self, runner, dataloader: DataLoader | dict, heldout_dataloader: DataLoader | dict | None = None, **kwargs
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self._prepare(heldout_dataloader)

    def run_epoch(self) -> None:
        """Iterate one epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        resumed = self._take_resumed()
        if resumed is not None:
            resumed['now'].restore()
        for idx, (data_batch, heldout_batch) in enumerate(self._pairs(), start=self.batches_done):
            self.run_iter(idx, data_batch, heldout_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any, heldout_batch: Any) -> None:
        """One UDL iteration."""
        self._train_on(idx, data_batch, heldout_batch)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        if self.heldout_dataloader is None:
            return with_next(self.dataloader, resumed=self.batches_done > 0)
        # The held-out loader's own epochs are numbered so that each depends on the training epoch alone: a
        # run that resumes at its start continues the same.
        passes = -(-len(self.dataloader) // max(len(self.heldout_dataloader), 1))
        return zip(self.dataloader, endless(self.heldout_dataloader, first_epoch=self._epoch * passes))


@LOOPS.register_module()
class UDLIterBasedTrainLoop(_UDLTrainLoop, IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop`` with a held-out batch for every batch.

    Held-out batches come as in :class:`UDLEpochBasedTrainLoop`, pass by pass over a sampler that ends. An
    ``InfiniteSampler`` has no passes: where it shuffles anew, neighbouring batches may share a sample.

    On resume the loaders are wound forward, as MMEngine does, by loading what has been trained on.

    Args:
        runner: The runner.
        dataloader: The training loader or its config.
        heldout_dataloader: See :class:`UDLEpochBasedTrainLoop`; it is not started anew.
        **kwargs: ``max_iters``, ``val_begin``, ``val_interval``, ``dynamic_intervals`` of MMEngine's loop.
    """

    def __init__(
        self, runner, dataloader: DataLoader | dict, heldout_dataloader: DataLoader | dict | None = None, **kwargs
    ) -> None:
        loader = _built(runner, dataloader) if isinstance(dataloader, dict) else dataloader
        super().__init__(runner, _NotStarted(loader), **kwargs)
        self.dataloader = loader
        self._prepare(heldout_dataloader)
        #: Random states before batches were fetched that a later iteration still uses: with
        # ``num_workers=0`` their
        #: augmentation drew from this process's generators, so a resumed run must fetch them from here.
        self.fetch_states: dict[str, RandomState] = {}
        self._resumed: dict[str, Any] | None = None
        self._given = 0
        self._start = 0
        # MMEngine's loop asks this attribute for batches, and gets pairs.
        self.dataloader_iterator = self._pairs()

    def run(self):
        """Launch training."""
        self._resumed = self._take_resumed()
        self._start = self._iter
        return super().run()

    def run_iter(self, data_batch: tuple[Any, Any]) -> None:
        """One UDL iteration on a pair of batches."""
        self._train_on(self._iter, *data_batch)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        if self.heldout_dataloader is None:
            pairs = endless(self.dataloader, epoch_of=partial(with_next, before_fetch=self._before_fetch))
        else:
            pairs = zip(endless(self.dataloader), endless(self.heldout_dataloader))
        for pair in pairs:
            self._given += 1
            yield pair
            if self._resumed is not None and self._given == self._start:
                # All that was trained on has been loaded again: from here on as if the run had never stopped.
                self._resumed['now'].restore()
                self._resumed = None

    def _before_fetch(self, kind: str) -> None:
        if self._resumed is not None and self._given < self._start and kind in self._resumed['fetch']:
            # Winding forward: only the last batch of each kind is used again, and this is where it was fetched.
            self._resumed['fetch'][kind].restore()
        self.fetch_states[kind] = RandomState.capture()


class _NotStarted:
    """A loader that MMEngine's loop can begin to iterate without starting workers: :meth:`_pairs` starts them."""

    def __init__(self, loader: DataLoader) -> None:
        self.dataset = loader.dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _built(runner, config: dict, seed_offset: int = 0) -> DataLoader:
    """Build a loader as MMEngine's loops do."""
    return runner.build_dataloader(
        config, seed=runner.seed + seed_offset, diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False)
    )


def _put_constructor_around(runner) -> None:
    """Make the runner build its optimizer wrapper with UDL's constructor around the configured one.

    A loop is built before the optimizer wrapper, so that a config need not name the constructor.
    """
    config = runner.optim_wrapper
    if isinstance(config, OptimWrapper):
        if not isinstance(config, UDLOptimWrapper):
            raise TypeError(
                f'The UDL train loops need a UDLOptimWrapper, but optim_wrapper is a {type(config).__name__}'
            )
        return
    kind = config.get('type', 'OptimWrapper') if isinstance(config, dict) else type(config).__name__
    if kind is not UDLOptimWrapper and str(kind).split('.')[-1] != UDLOptimWrapper.__name__:
        raise TypeError(
            f"The UDL train loops need optim_wrapper.type='UDLOptimWrapper', but it is "
            f"{kind!r}. Mixed precision is its argument amp=dict(dtype='bfloat16' or 'float16')"
        )
    constructor = config.get('constructor', 'DefaultOptimWrapperConstructor')
    if str(constructor).split('.')[-1] != 'UDLOptimWrapperConstructor':
        runner.optim_wrapper = dict(config, constructor='UDLOptimWrapperConstructor', base_constructor=constructor)
