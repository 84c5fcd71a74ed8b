"""The documentation site: ``python -m sphinx -W --keep-going -b html deploy/site build/site``, without a network."""

import os
import re
from pathlib import Path

os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of kernels under frozen modules

from docutils import nodes

import som_dask

project = "som_dask"
author = "The som_dask developers"
copyright = f"2026, {author}"
version = release = som_dask.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["**/.ipynb_checkpoints"]

# Docstrings
default_role = "py:obj"  # a name between backticks links to its entry, where it has one
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_output_stderr = "remove"  # the bars of progress, of which a page would show every step
nb_execution_mode = "force"
nb_execution_in_temp = True  # stores that a page writes are gone with it
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds a cell
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"

# The look: everything comes with the theme's wheel.
html_theme = "pydata_sphinx_theme"
html_title = f"som_dask {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "start": [], "exactness": [], "mathematics": []}  # pages without others below them
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

PICTURE = re.compile(r"picture-(\d+)-of-(\w+)")
FROM_NETWORK = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^\"']+", re.I)


def resolve_inner_name(app, env, node, contnode):
    """Link the place where a public name is defined, as docstrings give it, to the entry of the public name."""
    *path, name = node.get("reftarget", "").split(".")
    names = som_dask.PLACES.get(".".join(path).removeprefix("som_dask."), ())
    name = "report" if name == "write_report" else name
    if node.get("refdomain") != "py" or name not in names:
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, node.get("reftype", "obj"), f"som_dask.{name}", node, contnode
    )


def hide_private_parameters(app, kind, name, thing, options, signature, annotation):
    """Leave parameters whose names begin with an underscore out of signatures."""
    return signature and re.sub(r"(, \*)?, _\w+=[^,)]*(?=\)$)", "", signature), annotation


def show_pictures(app, doctree, name):
    """Put a picture of a page on each card of the class ``picture-NUMBER-of-PAGE``."""
    for card in doctree.findall(nodes.container):
        for found in filter(None, (PICTURE.fullmatch(word) for word in card.get("classes", ()))):
            page = app.env.get_doctree(f"{name.rpartition('/')[0]}/{found[2]}")
            picture = list(page.findall(nodes.image))[int(found[1])].deepcopy()
            picture["alt"] = ""
            picture["classes"].append("sd-card-img-top")
            del picture["width"], picture["height"]
            card.insert(0, picture)


def refuse_network(app, error):
    """Refuse pages that load anything from a network."""
    if error or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        found = FROM_NETWORK.search(page.read_text(encoding="utf-8"))
        if found:
            raise RuntimeError(f"{page.name} loads from the network: {found[0]}")


def setup(app):
    """Register the functions above."""
    app.connect("autodoc-process-signature", hide_private_parameters)
    app.connect("doctree-resolved", show_pictures)
    app.connect("missing-reference", resolve_inner_name)
    app.connect("build-finished", refuse_network)
