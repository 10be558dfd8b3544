"""How the parts of the repository hang together: what may import what, and what is decided in one place."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A room may import from its own level and from those above it in this list.
LEVELS = [
    ('mmdsts.errors', 'mmdsts.version'),
    ('mmdsts.models', 'mmdsts.engine', 'mmdsts.datasets', 'mmdsts.evaluation', 'mmdsts.toygym'),
    ('mmdsts.compat', 'mmdsts.deployment', 'mmdsts.attachment'),
    ('mmdsts',),
    ('mmdsts.analysis', 'mmdsts.footage', 'mmdsts.cli', 'mmdsts.start', 'mmdsts.variables', 'benchmarks'),
    ('tools',),
]


def _modules():
    """Of all modules, by their full names: the tree, and whether it is a package."""
    paths = [
        path
        for room in ('mmdsts', 'benchmarks', 'tools')
        for path in (ROOT / room).rglob('*.py')
        if '.mim' not in path.parts
    ]
    modules = {}
    for path in paths:
        is_package = path.name == '__init__.py'
        name = (path.parent if is_package else path.with_suffix('')).relative_to(ROOT).parts
        modules['.'.join(name)] = ast.parse(path.read_text(encoding='utf-8')), is_package
    return modules


MODULES = _modules()


def _imports(name, nodes):
    """Our modules that some statements of a module import."""
    parts, is_package = name.split('.'), MODULES[name][1]
    for node in nodes:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            source = '.'.join([*base, *([node.module] if node.module else [])])
            names = [f'{source}.{alias.name}' for alias in node.names]
            targets = [name if name in MODULES else source for name in names]
        else:
            continue
        yield from (target for target in targets if target in MODULES)


def _level(name):
    """The level of the room a module is in: that of the longest name in the list that it begins with."""
    rooms = {room: level for level, some in enumerate(LEVELS) for room in some}
    while name not in rooms:
        name = name.rpartition('.')[0]
    return rooms[name]


def test_no_import_runs_upwards():
    found = [(name, target) for name, (tree, _) in MODULES.items() for target in _imports(name, ast.walk(tree))]
    assert len(found) > 200
    assert [f'{name} imports {target}' for name, target in found if _level(target) > _level(name)] == []


def test_no_import_cycle():
    imports = {name: set(_imports(name, tree.body)) for name, (tree, _) in MODULES.items()}
    while leaves := {name for name, targets in imports.items() if not targets}:
        imports = {name: targets - leaves for name, targets in imports.items() if name not in leaves}
    assert imports == {}


def test_attaching_is_imported_when_it_is_asked_for():
    tree, _ = MODULES['mmdsts']
    at_once, later = set(_imports('mmdsts', tree.body)), set(_imports('mmdsts', ast.walk(tree)))
    assert later - at_once == {'mmdsts.attachment'}
    assert not any(
        'mmdsts.attachment' in _imports(name, tree.body)
        for name, (tree, _) in MODULES.items()
        if _level(name) < _level('mmdsts.attachment')
    )


def test_a_neuron_is_chosen_in_one_place():
    rooms = ('mmdsts.models.', 'mmdsts.deployment.', 'mmdsts.engine.')
    choosing = {
        name
        for name, (tree, _) in MODULES.items()
        if name.startswith(rooms)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == 'argmax'
    }
    assert choosing == {'mmdsts.models.routing'}
