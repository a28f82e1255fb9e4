"""Settings of the site, which `make docs` builds."""

import contextlib
import dataclasses
import inspect
import pydoc
import re
import sys
from pathlib import Path

from docutils import nodes
from numpydoc.docscrape import NumpyDocString
from numpydoc.xref import DEFAULT_LINKS
from sphinx import addnodes
from sphinx.application import Sphinx

import sharedmem

project = "sharedmem"
author = "sharedmem developers"
project_copyright = author
version = release = sharedmem.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery/GALLERY_HEADER.rst"]
nitpicky = True
nitpick_ignore = [
    ("py:data", "sharedmem.kernels.loops.pieces.Share"),  # not public
]
default_role = "autolink"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings state the types
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",
    "ES01",  # an extended summary: one line is enough for most functions
}
# The fields of records, which users do not make, are attributes, not parameters.
numpydoc_validation_overrides = {"PR01": [r"(?s)\A(?!.*Parameters\n).*Attributes\n"]}
# Its signature is that of __new__, which chooses the class; a dataclass has the parameters.
numpydoc_validation_exclude = {r"\.Reduction$"}
# Words that are links in the types of parameters and results.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    **{word: word for word in DEFAULT_LINKS},  # which would need the inventories of others
    **{word: f"sharedmem.{word}" for word in dir(sharedmem) if word[0].isupper()},
    **{word: f"numpy.{word}" for word in ("dtype", "memmap", "ndarray", "ufunc")},
    "Grid": "sharedmem.arrays.chunks.Grid",
    "Moments": "sharedmem.kernels.moments.Moments",
    "TraceSummary": "sharedmem.pool.trace_summary.TraceSummary",
    "Event": "sharedmem.workers.recorder.Event",
    "Activity": "sharedmem.workers.recorder.Activity",
}
# Pages of a package have the names of its functions and classes.
_REFERENCES = {
    "numpy": "https://numpy.org/doc/stable/reference",
    "scipy": "https://docs.scipy.org/doc/scipy/reference",
}
# The methods and properties that the chapters list also stand on the page of their class.
_CHAPTERS = "".join(path.read_text() for path in Path(__file__).parent.glob("api/*.rst"))
_MEMBERS = re.findall(r"^   (\w+)\.(\w+)$", _CHAPTERS, re.MULTILINE)
autosummary_context = {
    "kinds": {
        f"{owner}.{name}": "property"
        if isinstance(inspect.getattr_static(getattr(sharedmem, owner), name), property)
        else "method"
        for owner, name in _MEMBERS
    }
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py",
    "ignore_pattern": r"demo\.py|__",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
}
# Prompts are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "sharedmem"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# Pages of few or no neighbors use the room of the left sidebar.
html_sidebars = {page: [] for page in ("index", "quickstart", "tutorial", "benchmarks/*")}
html_theme_options = {
    "logo": {"text": "sharedmem"},
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc"],
}


def mark_parameters(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let no name of a parameter be a reference: many functions have such names, too."""
    with contextlib.suppress(TypeError, ValueError):  # a property, or a class made in C
        names = "|".join(inspect.signature(obj).parameters)
        marked = rf"(?<![`\w:])`({names})`(?![`\w])"
        lines[:] = [re.sub(marked, r"*\1*", line) for line in lines]


def show_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, result: str
) -> tuple[str, str | None] | None:
    """Show the arguments of a class that its docstring describes, and those of a dataclass."""
    if what not in ("class", "exception") or not signature:
        return None
    if not NumpyDocString(inspect.getdoc(obj) or "")["Parameters"]:
        return "", None
    if not dataclasses.is_dataclass(obj):
        return None
    _, *parameters = inspect.signature(obj.__init__).parameters.values()
    plain = inspect.Signature([each.replace(annotation=each.empty) for each in parameters])
    return re.sub("<function .*?>", "...", str(plain)), None


def note_attributes(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let references to the attributes in the docstring of a class lead to that class."""
    if what in ("class", "exception") and app.env.docname.startswith("api/generated/"):
        domain = app.env.domains.python_domain
        for entry in NumpyDocString(inspect.getdoc(obj) or "")["Attributes"]:
            for attribute in entry.name.split(", "):
                if not isinstance(getattr(obj, attribute, None), property):
                    domain.note_object(f"{name}.{attribute}", "attribute", name)


def link_outside(
    app: Sphinx, env: object, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Link to the pages of NumPy, SciPy, and Python; intersphinx would need a network for that."""
    target = node["reftarget"]
    if node.get("refdomain") != "py" or pydoc.locate(target) is None:
        return None
    package, _, rest = target.partition(".")
    if package in _REFERENCES:
        is_module = inspect.ismodule(pydoc.locate(target))
        page = f"{rest}.html" if is_module else f"generated/{target}.html"
        page = f"{_REFERENCES[package]}/{page}"
    elif package in sys.stdlib_module_names:
        module = target
        while not inspect.ismodule(pydoc.locate(module)):
            module = module.rpartition(".")[0]
        anchor = f"module-{target}" if module == target else target
        page = f"https://docs.python.org/3/library/{module}.html#{anchor}"
    else:
        return None
    return nodes.reference("", "", text, internal=False, refuri=page)


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("autodoc-process-docstring", mark_parameters, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", note_attributes)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("missing-reference", link_outside)
