"""Settings of the documentation; build it with ``python3 dev.py docs``."""

import fromnoise

project = "fromnoise"
author = "the fromnoise authors"
copyright = "the fromnoise authors"
version = release = fromnoise.__version__

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
# scikit-learn's machinery, which estimators inherit; its texts refer to pages that are not here
autodoc_default_options = {
    "exclude-members": ", ".join(
        ["get_metadata_routing", "set_output"]
        + [f"set_{name}_request" for name in ("fit", "score", "transform", "inverse_transform")]
    )
}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "furo"
html_title = "fromnoise"
