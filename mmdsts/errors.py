"""Errors that the user can mend: the tools end with their message and status 2, without a traceback."""


class UsageError(Exception):
    """What the user gave cannot be used; the message says what, and what to do."""


class ClipError(UsageError):
    """A clip cannot be loaded; the message names its file. Data workers hand it on by this message alone."""
