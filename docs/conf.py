"""Configuration of the documentation: `make docs` builds it with Sphinx, offline, with warnings as errors."""

from __future__ import annotations

from importlib.metadata import version as get_version

project = "speechxfer"
author = "the speechxfer developers"
project_copyright = author
version = release = get_version("speechxfer")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "speechxfer"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = False  # names in signatures may be of libraries whose inventory is on the network

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
