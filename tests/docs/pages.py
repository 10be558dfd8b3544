"""The pages of the documentation, and the code blocks on them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')])


def blocks(page, language):
    """Contents of the fenced blocks in a language, in their order."""
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(encoding='utf-8'), flags=re.M | re.S)
