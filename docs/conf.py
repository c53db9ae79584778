"""
Sphinx configuration; C{make docs} builds the pages, and the API reference by pydoctor beside them.
"""

import invproxy

project = "invproxy"
author = "the invproxy authors"
project_copyright = "the invproxy authors"
release = version = invproxy.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"invproxy {release}"
