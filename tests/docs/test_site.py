"""The site builds without a warning: no broken link, no docstring that cannot be read, no page that is left out."""

import subprocess
import sys

import pytest

from .pages import ROOT


@pytest.mark.slow
def test_site_builds(tmp_path):
    command = [
        sys.executable,
        '-W',
        'ignore',
        '-m',
        'sphinx',
        '-W',
        '--keep-going',
        '-q',
        '-d',
        str(tmp_path / 'cache'),
    ]
    built = subprocess.run([*command, 'docs', str(tmp_path / 'site')], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / 'site' / 'index.html').is_file()
