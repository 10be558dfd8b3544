"""Code in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code, **env):
    """Run code in a fresh interpreter; returns what it printed."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': path, **env},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    return done.stdout.split()
