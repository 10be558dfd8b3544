"""MMEngine's checkpoint hook, made to outlive kills, full disks and broken files."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ..atomic_backend import ATOMIC, AtomicLocalBackend, PatientBackend
from ..checkpoint_files import (
    INTERRUPTED,
    NOTE,
    PARTIAL,
    CheckpointError,
    find_resumable,
    list_checkpoints,
    read_checkpoint,
    write_atomically,
)
from ..fit import check_resumable
from ..partial_epoch import PartialEpoch


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """Save checkpoints so that a kill, a full disk or a broken file costs no more than the work since the last one.

    What MMEngine's hook does, and:

    - a checkpoint, and MMEngine's note of the last one, appears only when all of it is on the disk;
    - an old one is removed when the new one has been read back, byte for byte;
    - weights that are not finite are never saved over good ones;
    - ``resume`` takes the newest checkpoint of the work dir that can be read, warns of what it passed over, and ends
      with an error, instead of training from scratch, where there are checkpoints of which none can be read;
    - a checkpoint to resume from must fit the model and the optimizer;
    - a run that was interrupted inside an epoch (:class:`StopHook`) goes on after its last batch.

    The first two hold for local folders. Elsewhere the file backend does what it does.

    Args:
        *args: See MMEngine's ``CheckpointHook``.
        load_from: Weights to begin with where ``resume`` is asked for and the work dir holds no checkpoint yet; the
            option ``--resume`` of the train tools would drop ``load_from``. Defaults to None.
        **kwargs: See MMEngine's ``CheckpointHook``.
    """

    def __init__(self, *args, load_from: str | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.load_from = load_from
        #: Iterations trained, and batches of the present epoch among them.
        self.iters_done = self.batches_done = 0
        #: Iterations that the newest checkpoint holds.
        self.iters_saved = 0
        self._last_moment = 0.0
        self._partial: PartialEpoch | None = None

    # -- resuming -----------------------------------------------------------------------------------------------------

    def before_run(self, runner) -> None:
        """Choose the checkpoint to resume from; check the one to load.

        Raises:
            CheckpointError: See :class:`DurableCheckpointHook`.
        """
        if runner._resume and runner._load_from is None:
            self._resume_newest(runner)
        elif runner._load_from is not None and os.path.isfile(runner._load_from):
            read_checkpoint(runner._load_from)

    def _resume_newest(self, runner) -> None:
        # One process looks, so that all go on from the same checkpoint.
        answer: list[Any] = [None, None]
        if is_main_process():
            try:
                answer[0] = find_resumable(self._folders(runner), [self.filename_tmpl])
            except CheckpointError as error:
                answer[1] = str(error)
        broadcast_object_list(answer)
        found, failure = answer
        if failure is not None:
            raise CheckpointError(failure)
        for path, reason in found.passed_over.items():
            runner.logger.warning(f'Passed over {path}: {reason}')
        if found.path is not None:
            runner.logger.info(f'The newest checkpoint that can be read is {found.path}')
            runner._load_from = found.path
        else:
            runner.logger.info(
                f'No checkpoint in {runner.work_dir}: training starts from the beginning'
                + (f' with the weights of {self.load_from}' if self.load_from else '')
            )
            # Without this MMEngine would look for its note, and take what it names.
            runner._resume = False
            runner._load_from = self.load_from

    def _folders(self, runner) -> list[str]:
        folders = [runner.work_dir]
        if self.out_dir is not None:  # as before_train of MMEngine's hook will make it
            folders.append(os.path.join(self.out_dir, os.path.basename(os.path.normpath(runner.work_dir))))
        return folders

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check that a checkpoint to resume from fits; remember where in its epoch it was saved.

        Raises:
            CheckpointError: It does not fit the model or the optimizer.
        """
        if not runner._resume:
            return
        check_resumable(runner, checkpoint)
        meta = checkpoint['meta']
        self.batches_done = meta.get('batches_done', 0)
        if self.batches_done:
            # With other batches (another number of processes, say) the same share of the epoch is left.
            batches = len(runner.train_dataloader)
            self.batches_done = round(self.batches_done * batches / meta['batches'])
        self.iters_done = self.iters_saved = meta['iter']
        self._last_moment = meta.get('saved_at', 0.0)

    # -- where training stands ----------------------------------------------------------------------------------------

    def before_train(self, runner) -> None:
        """Prepare to save; clear away what an interrupted writing left."""
        if not runner._resume and is_main_process():
            earlier = list_checkpoints(self._folders(runner), [self.filename_tmpl])
            if earlier:
                runner.logger.warning(
                    f'{Path(earlier[0]).parent} holds {len(earlier)} checkpoint(s) of an earlier run. This run was not '
                    'asked to resume: it starts from the beginning and replaces those of the same name. To go on from '
                    'the newest, end it now and resume (--resume)'
                )
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=ATOMIC)
        super().before_train(runner)
        self._find_best_here(runner)
        if self.backend_args == dict(backend=ATOMIC):
            self.file_backend = PatientBackend()
            if is_main_process() and os.path.isdir(self.out_dir):
                for path in Path(self.out_dir).glob(f'*{PARTIAL}'):
                    path.unlink()

    def _find_best_here(self, runner) -> None:
        """Look for the best checkpoints in this run's folder: it may be a copy, whose original keeps its own."""
        hub = runner.message_hub
        for key, path in list(hub.runtime_info.items()):
            if key.startswith('best_ckpt') and path:
                hub.update_info(key, self.file_backend.join_path(self.out_dir, os.path.basename(path)))
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = hub.get_info('best_ckpt')
        for indicator, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            if path:
                self.best_ckpt_path_dict[indicator] = hub.get_info(f'best_ckpt_{indicator}')

    def before_train_epoch(self, runner) -> None:
        """Leave out the batches of this epoch that have been trained on."""
        loop = runner.train_loop
        self.iters_done = runner.iter
        if not self.by_batches(runner) or not self.batches_done:
            self.batches_done = 0
            return
        try:
            self._partial = PartialEpoch(loop.dataloader, self.batches_done, keep_first=self._pairs_with_first(loop))
        except TypeError as error:
            runner.logger.warning(
                f'Epoch {runner.epoch + 1} begins anew, {self.batches_done} of its batches are '
                f'trained on once more: {error}'
            )
            loop._iter -= self.batches_done
            self.iters_done = self.iters_saved = loop._iter
            self.batches_done = 0
            return
        loop.batches_done = self.batches_done
        runner.logger.info(
            f'Epoch {runner.epoch + 1} goes on after {self.batches_done} of its {len(loop.dataloader)} batches'
        )

    @staticmethod
    def by_batches(runner) -> bool:
        """Whether the train loop goes through epochs, in the middle of which a run can be interrupted."""
        return hasattr(runner.train_loop, 'run_epoch')

    @staticmethod
    def _pairs_with_first(loop) -> bool:
        return getattr(loop, 'heldout_dataloader', False) is None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count, and save where a checkpoint by iterations is due."""
        self.iters_done = runner.iter + 1
        self.batches_done += 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_train_epoch(self, runner) -> None:
        """The epoch is whole again; save where a checkpoint by epochs is due."""
        self.batches_done = 0
        if self._partial is not None:
            self._partial.end()
            self._partial = None
            runner.train_loop.batches_done = 0
        super().after_train_epoch(runner)

    # -- saving -------------------------------------------------------------------------------------------------------

    def save_interrupted(self, runner) -> str:
        """Save where training stands, between two iterations, for ``resume`` to go on from.

        Every process may call it; the first one writes.

        Returns:
            Path of the file.

        Raises:
            CheckpointError: It cannot be written, or weights are not finite.
        """
        meta = dict(epoch=runner.epoch, iter=self.iters_done)
        if self.by_batches(runner) and self.batches_done:
            meta.update(batches_done=self.batches_done, batches=len(runner.train_dataloader))
        return self._write(runner, INTERRUPTED, meta, by_epoch=False)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict[str, Any]) -> None:
        outdated = []
        if self.max_keep_ckpts > 0:
            steps = [s for s in self.keep_ckpt_ids if s != step] + [step]
            outdated, kept = steps[: -self.max_keep_ckpts], steps[-self.max_keep_ckpts :]
            # The new checkpoint names those that are about to go, too: a run that is killed before they are gone
            # removes them when it resumes.
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._write(runner, name, meta, self.by_epoch, **self.args)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        if is_main_process():
            for old in [*map(self.filename_tmpl.format, outdated), INTERRUPTED]:
                self._remove(self.file_backend.join_path(self.out_dir, old))

    def _write(self, runner, name: str, meta: dict[str, Any], by_epoch: bool, **kwargs) -> str:
        """Save a checkpoint to resume from, read it back, and note it down."""
        path = self.file_backend.join_path(self.out_dir, name)
        # Also where the clock was put back, a later checkpoint of a run is the newer one.
        self._last_moment = max(time.time(), self._last_moment + 1e-3)
        meta['saved_at'] = self._last_moment
        with _explained(path):
            _require_finite(runner, path)
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=by_epoch,
                backend_args=self.backend_args,
                **kwargs,
            )
            if is_main_process():
                if os.path.isfile(path):
                    read_checkpoint(path)
                write_atomically(os.path.join(runner.work_dir, NOTE), path.encode())
        self.iters_saved = meta['iter']
        return path

    def _save_best_checkpoint(self, runner, metrics: dict[str, Any]) -> None:
        before = self._best()
        with _explained(self.out_dir):
            _require_finite(runner, self.out_dir)
            super()._save_best_checkpoint(runner, metrics)
        if isinstance(self.file_backend, PatientBackend) and is_main_process():
            for path in self._best() - before:
                read_checkpoint(path)
            self.file_backend.remove_outdated(keep=self._best())

    def _best(self) -> set[str]:
        """Paths of the best checkpoints so far."""
        paths = getattr(self, 'best_ckpt_path_dict', {}).values()
        return {path for path in (*paths, getattr(self, 'best_ckpt_path', None)) if path}

    def _remove(self, path: str) -> None:
        backend = AtomicLocalBackend() if isinstance(self.file_backend, PatientBackend) else self.file_backend
        if backend.isfile(path):
            backend.remove(path)
        elif backend.isdir(path):  # DeepSpeed's are folders
            backend.rmtree(path)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Say of an error in writing what it means for the run."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f'checkpoint {error.filename or path} cannot be written: {error.strerror or error}. Earlier checkpoints '
            'are kept. Make room or give write access, then go on from the newest of them (--resume)'
        ) from error


def _require_finite(runner, path: str) -> None:
    """Refuse to save weights that no training recovers from.

    Raises:
        CheckpointError: A parameter is not finite, or a running statistic is not a number.
    """
    model = runner.model
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    broken += [name for name, value in model.named_buffers() if value.is_floating_point() and value.isnan().any()]
    if broken:
        raise CheckpointError(
            f'checkpoint {path} is not written: {len(broken)} tensors of the model are not finite, {broken[0]} among '
            f'them (iteration {runner.iter}, epoch {runner.epoch}). Earlier checkpoints are kept. Lower the learning '
            'rate or look for broken samples, then go on from the newest of them (--resume)'
        )
