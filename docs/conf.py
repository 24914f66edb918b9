"""Sphinx settings: Markdown pages by myst-parser, theme furo."""

from __future__ import annotations

project = "brski"
author = "the brski authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "brski"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
nitpicky = False
suppress_warnings = ["myst.xref_missing"]  # links into the source tree
