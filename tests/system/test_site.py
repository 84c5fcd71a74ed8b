"""The documentation: every public name has an entry, every page can be reached, links lead somewhere, code compiles.

Building it, which runs every page, is left to continuous integration; see .ci/run.
"""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import som_dask

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "deploy" / "site"
PAGES = sorted(path for path in SITE.rglob("*") if path.suffix in (".md", ".rst"))
NOTEBOOKS = [path for path in PAGES if "file_format: mystnb" in path.read_text(encoding="utf-8")]
GALLERY = [path for path in NOTEBOOKS if path.parent.name == "gallery"]
PICTURES = (
    "maps",
    "planes",
    "profiles",
    "classes",
    "fields",
    "composites",
    "series",
    "sammon",
    "history",
    "calibration",
)  # what users import of plotting


def name_of(path):
    return path.relative_to(SITE).with_suffix("").as_posix()


def names(paths):
    return [name_of(path) for path in paths]


def entries():
    """What the reference describes: full names, those of a module's members too."""
    found = set()
    for page in sorted((SITE / "reference").glob("*.rst")):
        lines = [*page.read_text(encoding="utf-8").splitlines(), "", "", ""]
        for line, *options in zip(lines, lines[1:], lines[2:], lines[3:], strict=False):
            if directive := re.match(r"\.\. auto(function|class|data|module):: (\S+)$", line):
                kind, name = directive.groups()
                members = re.search(r":members:(.*)", "\n".join(options))
                if kind != "module":
                    found.add(name)
                elif members:
                    listed = [member.strip() for member in members[1].split(",") if member.strip()]
                    found |= {f"{name}.{each}" for each in listed or importlib.import_module(name).__all__}
    return found


def look_up(name):
    """Find what an entry describes, in a module or the package."""
    place, _, last = name.rpartition(".")
    return getattr(importlib.import_module(place), last)


def cells_of(page):
    """The code of the cells of a notebook, without lines that are no Python."""
    text = page.read_text(encoding="utf-8")
    for options, code in re.findall(r"^```\{code-cell\} ipython3\n((?::[^\n]*\n)*)(.*?)^```$", text, re.S | re.M):
        assert not options or options.startswith(":tags:")
        yield "\n".join(line for line in code.splitlines() if not line.startswith("%"))


def test_each_public_name_has_an_entry():
    public = {f"som_dask.{name}" for name in som_dask.__all__}
    for module in PICTURES:
        place = f"som_dask.plotting.{module}"
        public |= {f"{place}.{name}" for name in importlib.import_module(place).__all__}
    public |= {f"som_dask.errors.{name}" for name in som_dask.errors.__all__ if name.endswith("Error")}
    assert public - {"som_dask.errors.SomError"} <= entries()


def test_no_formula_needs_the_network():
    places = [*(ROOT / "som_dask").rglob("*.py"), *PAGES]
    texts = {path: path.read_text(encoding="utf-8") for path in places}
    assert [str(path) for path, text in texts.items() if re.search(r":math:|\bmath::|\{math\}", text)] == []


def test_each_entry_is_there_and_says_what_it_is():
    for name in entries() - {"som_dask.__version__"}:
        assert look_up(name).__doc__, name


def test_each_method_of_the_map_is_described():
    own = {name: value for name, value in vars(som_dask.KohonenMap).items() if not name.startswith("_")}
    methods = [name for name, value in own.items() if callable(value) or isinstance(value, (classmethod, property))]
    assert {"train", "infer", "load", "codebook"} <= set(methods)
    assert [name for name in methods if not getattr(som_dask.KohonenMap, name).__doc__] == []


def test_the_gallery_shows_each_page_on_a_card():
    assert len(GALLERY) >= 8
    text = (SITE / "gallery" / "index.md").read_text(encoding="utf-8")
    cards = re.findall(
        r"^:link: (\w+)\n:link-type: doc\n:class-card: picture-(\d+)-of-(\w+)$", text, flags=re.MULTILINE
    )
    assert {link for link, _, _ in cards} == {page.stem for page in GALLERY}
    assert all(link == page for link, _, page in cards)


@pytest.mark.parametrize("page", GALLERY, ids=names(GALLERY))
def test_a_page_of_the_gallery_teaches_and_shows(page):
    cells = list(cells_of(page))
    assert any("plt.show()" in cell or cell.endswith(".figure") for cell in cells)
    words = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M).split()
    assert len(words) > 120


@pytest.mark.parametrize("page", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_the_code_of_a_notebook_compiles(page):
    _, head, _ = page.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head)["kernelspec"]["name"] == "python3"
    cells = list(cells_of(page))
    assert cells
    assert len(cells) == page.read_text().count("```{code-cell}")
    for cell in cells:
        compile(cell, page.name, "exec")


def links_of(page):
    """Pages that a page links to, as paths without endings."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text)
    found += re.findall(r"^:link: (\S+)$", text, flags=re.MULTILINE)
    found += [link.removesuffix(".md") for link in re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", text)]
    return [*found, *children_of(page)]


def children_of(page):
    """Pages that stand in the tables of contents of a page."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(
        r"^```\{toctree\}\n(.*?)^```$|^\.\. toctree::\n((?:   [^\n]*\n|\n)*)", text, flags=re.S | re.M
    )
    lines = [line.strip() for table in tables for part in table for line in part.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    known = set(names(PAGES))
    for link in links_of(page):
        assert name_of(page.parent.joinpath(link).with_suffix(".md").resolve()) in known, link
    for path in re.findall(r"\b(?:deploy|jobs|tests)/[\w/.-]*\w", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_each_page_can_be_reached():
    reached, left = set(), [SITE / "index.md"]
    while left:
        page = left.pop()
        reached.add(name_of(page))
        for child in children_of(page):
            (found,) = page.parent.glob(f"{child}.*")
            left.append(found)
    assert reached == set(names(PAGES))


def test_continuous_integration_builds_the_site():
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^[^#]*-m sphinx -W .*-b html deploy/site build/site$", script, flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[>\[]", line)[0] for line in project["optional-dependencies"]["docs"]}
    assert {"sphinx", "myst-nb", "numpydoc", "ipykernel", "pydata-sphinx-theme", "som_dask"} <= wanted


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == som_dask.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
