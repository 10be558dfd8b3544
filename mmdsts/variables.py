"""Variables of a config file, changed from outside.

A config file is Python: ``data_root = 'data/finegym/'`` at its top is written into other settings while the file is
read, and nothing looks at it afterwards. Changing it in the finished config, as ``--cfg-options data_root=...`` does,
would change nothing. Here such a change reaches the settings that were made from a path, and is refused for any other
variable.
"""

from __future__ import annotations

import inspect
from typing import Any, Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from mmdsts.errors import UsageError

# Settings of one value at the top of a config that MMEngine reads.
_READ = {*inspect.signature(Runner.__init__).parameters, 'runner_type', 'sync_bn'}
_NAMES = 6  # settings that a message names


def change_variables(cfg: Config, options: dict[str, Any]) -> None:
    """Write changed variables of the config file into the settings that were made from them.

    A path (a text with a slash) is replaced wherever it stands, alone or as the start of a longer one.

    Args:
        cfg (Config): Changed in place. The variables themselves keep their values.
        options (dict): New values by name, as ``Config.merge_from_dict`` takes them; names of settings inside others,
            and of what MMEngine reads, are left to that function.

    Raises:
        UsageError: Something else than a path is to be changed, and settings were made from it.
    """
    old = {name: cfg[name] for name in options if '.' not in name and name in cfg and name not in _READ}
    old = {
        name: value
        for name, value in old.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ''
    }
    # Longest first: a path inside another that is changed too.
    paths = [name for name, value in old.items() if '/' in str(value) and isinstance(options[name], str)]
    paths.sort(key=lambda name: -len(old[name]))
    reached = set()
    for holder, key, value, _ in list(_settings(cfg)):
        name = next((name for name in paths if _starts_with(value, old[name])), None)
        if name is not None:
            holder[key] = _replace_start(value, old[name], options[name])
            reached.add(name)
    for name in old.keys() - reached:
        _refuse_if_used(cfg, name, old[name], options[name])


def _refuse_if_used(cfg: Config, name: str, old: Any, new: Any) -> None:
    if new == old:
        return
    made = [
        where
        for _, _, value, where in _settings(cfg)
        if type(value) is type(old) and (value == old or ('/' in str(old) and old in str(value)))
    ]
    if made:
        more = f' and {len(made) - _NAMES} more' if len(made) > _NAMES else ''
        raise UsageError(
            f'--cfg-options {name}={new}: {name} is a variable of the config file, and what was made from it does not '
            f'change with it. Change the settings themselves; with its value {old!r} are: '
            f'{", ".join(made[:_NAMES])}{more}'
        )


def _settings(cfg: Config) -> Iterator[tuple[Any, Any, Any, str]]:
    """Each value inside the config: its container, its key there, itself, and its name with dots."""

    def walk(holder: Any, names: list) -> Iterator:
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in items:
            if isinstance(value, (dict, list)):
                yield from walk(value, [*names, key])
            else:
                yield holder, key, value, '.'.join(map(str, [*names, key]))

    for name in cfg:
        if isinstance(cfg[name], (dict, list)):
            yield from walk(cfg[name], [name])


def _starts_with(value: Any, path: Any) -> bool:
    return isinstance(value, str) and path is not None and (value == path or value.startswith(path.rstrip('/') + '/'))


def _replace_start(value: str, path: str, new: str) -> str:
    rest = value[len(path.rstrip('/')) :].lstrip('/')
    return f'{new.rstrip("/")}/{rest}' if rest else new
