"""The pages of the documentation, the code blocks on them and the commands that they tell a reader to type."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')])
_BLOCK = r'^```(?P<language>\w*).*\n(?P<content>(?:.*\n)*?)^```'
#: In a line of text: what begins with a program, and has something behind it.
_INLINE = r'`(?P<inline>(?:python|bash|torchrun|mim|make|pip) [^`\n]+)`'


def blocks(page, language):
    """Contents of the fenced blocks in a language, in their order."""
    return [found['content'] for found in _parts(page) if found['language'] == language]


def commands(page):
    """Commands in ``bash`` blocks and in lines of text, in their order, each with its shell's continuation lines.

    Those in lines of text may be a synopsis, in which brackets and dots mark what can be left out: it is there.
    """
    found = []
    for part in _parts(page):
        if part['inline']:
            found.append(re.sub(r' \.\.\.|(?<= )\[|\](?= |$)', '', part['inline']))
        elif part['language'] == 'bash':
            found += _of_block(part['content'])
    return found


def _parts(page):
    text = page.read_text(encoding='utf-8')
    return list(re.finditer(f'{_BLOCK}|{_INLINE}', text, flags=re.M))


def _of_block(block):
    """Its commands, each of one line but for shell loops and groups."""
    command = ''
    for line in block.splitlines():
        command += line + '\n'
        # Complete: the shell would not wait for more.
        if (
            not line.endswith('\\')
            and subprocess.run(['bash', '-n', '-c', command], capture_output=True).returncode == 0
        ):
            if command.strip() and not command.startswith('#'):
                yield command.strip()
            command = ''
    assert not command, command
