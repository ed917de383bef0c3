"""Settings of the documentation; build it with ``python3 dev.py docs``."""

from importlib import metadata

project = "fromnoise"
author = "the fromnoise authors"
copyright = "the fromnoise authors"
version = release = metadata.version("fromnoise")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "fromnoise"
