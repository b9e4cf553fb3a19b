"""Sphinx builds these pages: ``pip install '.[docs]' && sphinx-build -W docs site``."""

from importlib.metadata import version as _version

project = "mlcalc"
copyright = "the mlcalc authors"
version = release = _version("mlcalc")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
exclude_patterns = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_ivar = True  # fields of dataclasses are documented in the class's docstring

html_theme = "furo"
html_title = "mlcalc"
html_static_path = []
suppress_warnings = ["myst.xref_missing"]  # links of the README to files of the repository


def _keep_bars(app, what, name, obj, options, lines):
    """|x| in a docstring is a length, not what reStructuredText takes it for; literal blocks show it as it is."""
    literal = False
    for number, line in enumerate(lines):
        text = line and not line.startswith(" ")
        if text or not literal:
            lines[number] = line.replace("|", r"\|")
        if text:
            literal = line.endswith("::")


def setup(app):
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _keep_bars)
