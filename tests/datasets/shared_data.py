"""Real annotation lists, where a checkout has them beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get('MMDSTS_SHARED_DATA', Path(__file__).parents[3] / 'shared' / 'data'))


def real_list(*parts: str) -> str:
    """Path of a real list; the test is skipped where it is absent."""
    path = ROOT.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f'{"/".join(parts)} is not there (set MMDSTS_SHARED_DATA to the folder that has it)')
    return str(path)
