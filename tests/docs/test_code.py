"""Code of the documentation runs, and its commands are ones that the tools know."""

import contextlib
import io
import re
import runpy
import shlex
from functools import lru_cache

import pytest

from .pages import PAGES, ROOT, blocks, commands

COMMANDS = [
    pytest.param(command, id=f'{page.name}: {command}')
    for page in PAGES
    for command in commands(page)
    if command.startswith('python tools/')
]
# test_tutorial.py runs the one that trains and writes.
WITH_PYTHON = [page for page in PAGES if blocks(page, 'python') and page.name != 'tutorial.md']


@pytest.mark.new_neurons
@pytest.mark.parametrize('page', WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_of_a_page_run_one_after_the_other(page):
    exec(compile('\n'.join(blocks(page, 'python')), str(page), 'exec'), {'__name__': page.stem})


@lru_cache(maxsize=None)
def help_of(tool):
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr('sys.argv', [tool, '--help'])
        parse_args = runpy.run_path(str(ROOT / tool), run_name='tool')['parse_args']
        with pytest.raises(SystemExit, match='^0$'):
            parse_args()
    return out.getvalue()


@pytest.mark.parametrize('command', COMMANDS)
def test_tools_know_the_options_of_a_command(command):
    _, tool, *rest = shlex.split(command, comments=True)
    known = help_of(tool)
    options = [word.partition('=')[0] for word in rest if word.startswith('-')]
    assert [option for option in options if not re.search(rf'(?<![\w-]){option}(?![\w-])', known)] == []
    named = [word for word in rest if word.startswith('configs/')]
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_there_are_commands():
    assert len(COMMANDS) > 5
