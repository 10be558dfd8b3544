"""``python -m mmdsts NAME ...``: run a tool of ours or of MMAction2 without a clone, after the repairs of
:mod:`mmdsts.compat`.

Some of MMAction2's tools read no config, or read it late: without ``import mmdsts`` before them they cannot load a
checkpoint (``publish_model``) or MMAction2 1.2 itself (``confusion_matrix``).
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import mmaction

import mmdsts

#: Where tools are looked for, ours first.
FOLDERS = [Path(package.__file__).parent / '.mim' / 'tools' for package in (mmdsts, mmaction)]


def find_tool(name: str) -> Path | None:
    """The script of a tool.

    Args:
        name: Its name, with or without folders and ``.py``, as in ``train`` or ``analysis/confusion``; or the path of
            any script.

    Returns:
        Its path; None if there is none of that name.
    """
    if Path(name).is_file():
        return Path(name)
    pattern = f'{name[: -len(".py")] if name.endswith(".py") else name}.py'
    return next((path for folder in FOLDERS for path in sorted(folder.rglob(pattern))), None)


def main() -> None:
    """Run what the command line names, with what follows as its command line."""
    parser = argparse.ArgumentParser(
        'python -m mmdsts', description="Run a tool of mmdsts or MMAction2, after mmdsts's repairs of the packages"
    )
    parser.add_argument('tool', help='its name, such as train, attach or publish_model, or a path')
    parser.add_argument('args', nargs=argparse.REMAINDER, help='its own arguments; --help shows them')
    args = parser.parse_args()
    script = find_tool(args.tool)
    if script is None:
        ours = ', '.join(sorted(path.stem for path in FOLDERS[0].rglob('*.py')))
        parser.error(f'argument tool: {args.tool!r} is no file and no tool in {FOLDERS[0]} ({ours}) or {FOLDERS[1]}')
    sys.argv = [str(script), *args.args]
    runpy.run_path(str(script), run_name='__main__')


if __name__ == '__main__':
    main()
