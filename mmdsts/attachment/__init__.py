"""Puts DSTS and UDL into a config of MMAction2: a dry run finds what the neck needs, and says what it chose."""

from .config import attach
from .decision import Attachment, decide
from .options import Options
from .text import config_text

__all__ = ['Attachment', 'Options', 'attach', 'config_text', 'decide']
