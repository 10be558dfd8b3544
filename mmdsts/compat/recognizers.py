"""What a recognizer keeps from its neck."""

from __future__ import annotations

import contextlib
import functools


def patch_chunked_testing() -> bool:
    """Tell a neck that the chunks of ``Recognizer3D`` are one batch.

    With ``test_cfg.max_testing_views`` the recognizer runs the neck for a few views at a time, and a neck that keeps
    what it decided would keep the last few. Modules with a context manager ``one_batch`` are entered for the batch.

    Returns:
        bool: whether the recognizer was wrapped by this call.
    """
    from mmaction.models.recognizers import Recognizer3D

    extract_feat = Recognizer3D.extract_feat
    if hasattr(extract_feat, '__wrapped__'):
        return False

    @functools.wraps(extract_feat)
    def extract_feat_of_batch(self, *args, **kwargs):
        with contextlib.ExitStack() as stack:
            if (self.test_cfg or {}).get('max_testing_views'):
                for module in self.modules():
                    if hasattr(module, 'one_batch'):
                        stack.enter_context(module.one_batch())
            return extract_feat(self, *args, **kwargs)

    Recognizer3D.extract_feat = extract_feat_of_batch
    return True
