"""The documentation site: ``make docs`` builds it in ``docs/_build/html``."""

import mmdsts  # its repairs come before any other import of MMAction2

project = 'mmdsts'
copyright = 'the authors of mmdsts'
release = mmdsts.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
myst_heading_anchors = 3
html_theme = 'furo'
html_title = f'mmdsts {release}'
templates_path, html_static_path = [], []
# The order of the source is that of the method.
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # docstrings say it, with shapes
napoleon_use_ivar = True  # fields of named tuples are said once
autodoc_default_options = dict(members=True)
