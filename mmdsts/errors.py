"""Errors that the user can mend: the tools end with their message and status 2, without a traceback."""

from __future__ import annotations

#: What a config that does not fit raises. Others, of a full disk or a killed worker, are no fault of the config.
CONFIG_MISTAKES = (
    AssertionError,
    AttributeError,
    FileNotFoundError,
    ImportError,
    LookupError,
    NotADirectoryError,
    NotImplementedError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)


class UsageError(Exception):
    """What the user gave cannot be used; the message says what, and what to do."""


class ClipError(UsageError):
    """A clip cannot be loaded; the message names its file. Data workers hand it on by this message alone."""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks, and without the traceback that a data worker puts before it."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error)
    if 'Original Traceback' in text:  # torch's ExceptionWrapper
        start = text.rfind(f'{type(error).__name__}: ')
        text = text[start + len(type(error).__name__) + 2 :] if start >= 0 else text.strip().splitlines()[-1]
    text = ' '.join(text.split())
    reason = _reason(error)
    if reason and reason not in text:
        text += f' ({reason})'
    if isinstance(error, (ValueError, FileNotFoundError, KeyError, UsageError)) and text:
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def _reason(error: BaseException) -> str:
    """What the first of several import errors said: "please install timm" is also said where timm misses something."""
    reason = ''
    while isinstance(error, ImportError):
        reason = ' '.join(str(error).split())
        error = error.__cause__ or error.__context__
    return reason
