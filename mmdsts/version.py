"""The version of mmdsts, in one place."""

__version__ = '0.1.0'
