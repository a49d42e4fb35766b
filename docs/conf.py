# SPDX-License-Identifier: MIT
"""How `make docs` makes a site of these pages, for Sphinx."""

import burble
from burble import _core

# burble.llama is described also where this burble was built without it.
_core.__dict__.setdefault("LlamaEngine", None)

project = "burble"
author = "burble authors"
version = release = burble.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["reference"]
root_doc = "index"
nitpicky = True  # a name that leads nowhere is an error, as any warning is

html_theme = "furo"
html_static_path = ["style"]
html_css_files = ["site.css"]
html_title = f"burble {version}"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
# Doxygen's reference of the C library.
html_extra_path = ["../build/reference"]

myst_heading_anchors = 3
# Code in fences is what the tests run; directives are written with braces.
myst_fence_as_directive: list[str] = []

# The docstrings say what types mean; signatures are for names and defaults.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autoclass_content = "both"
python_maximum_signature_line_length = 80
# Of Python and other projects, whose inventories would be fetched.
nitpick_ignore_regex = [
    ("py:exc", r"(Runtime|Type|Value|Timeout)(Error|Warning)|RuntimeWarning|queue\.Empty"),
    ("py:class", r"(asyncio|concurrent\.futures|collections\.abc|starlette|typing)\..*|.*\b[A-Z]"),
    ("py:class", r"(str|int|float|bool|bytes|object|optional)"),
]
