"""The report: one well-formed page with every picture, which asks nobody for anything."""

import os
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError, SchemaError, StorageError
from som_dask.plotting.report import report_html, write_report
from tests.plotting.pictures import model_of

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, and fails where a tag is left open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.cells = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def whole():
    """A report with everything."""
    scaled = model_of(Lattice(3, 4), ["a", "b", "c"]).assign(
        feature_center=("feature", [7.25, 1.0, 2.0]),
        feature_scale=("feature", [3.5, 1.0, 1.0]),
        missing_values=("feature", [12, 0, 0]),
    )
    return report_html(scaled, **made())


@pytest.fixture(scope="module")
def small():
    """A report of a model and nothing else."""
    return report_html(model_of(Lattice(2, 3), ["a", "b", "c"]))


@pytest.fixture
def model():
    return model_of(Lattice(3, 4), ["a", "b", "c"])


def made():
    """What a report may tell besides the model."""
    evaluation = xr.Dataset(
        {
            "trustworthiness": ((), 0.96875, {"long_name": "trustworthiness of 10 neighbors", "units": "1"}),
            "samples": ((), 123456),
            "mean_distance": (
                ("row", "col"),
                np.arange(12.0).reshape(3, 4),
                {"long_name": "mean distance of a node", "units": "m"},
            ),
            "scalars": ("k", [1, 2]),
        }
    )
    clusters = xr.Dataset(
        {"cluster": (("row", "col"), np.arange(12).reshape(3, 4) // 6), "cluster_stability": ("cluster", [1.0, 0.5])}
    )
    counts = np.arange(24).reshape(3, 4, 2)
    labels = xr.Dataset({"class_count": (("row", "col", "class"), counts)}, {"class": ["x", "y"]})
    return {"evaluation": evaluation, "clusters": clusters, "labels": labels.assign(overall_purity=0.75)}


def test_a_report_stands_alone(whole):
    text = whole
    assert text.startswith("<!doctype html>")
    page = Page(text)
    assert page.of("html") == [{"lang": "en"}]
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/"))
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert re.sub(r"base64,[^\"]*", "", text).count("://") == 0
    policy = next(attrs for attrs in page.of("meta") if "http-equiv" in attrs)
    assert "default-src 'none'" in policy["content"]
    targets = {attrs["href"].removeprefix("#") for attrs in page.of("a")}
    assert targets == {attrs["id"] for attrs in page.of("h2")}


def test_every_picture_is_there_and_is_described(whole, small):
    pictures = Page(whole).of("img")
    assert all(attrs["alt"].strip() for attrs in pictures)
    told = [attrs["alt"] for attrs in pictures]
    wanted = [
        "Curves of the errors",
        "U-matrix",
        "Map of the hits, up to 11 samples per node, 1 nodes without",
        "Map of the 2 clusters",
        "Pies of the 2 classes",
        "Map of the most frequent of the 2 classes",
        "Map of mean distance of a node [m]",
        "Component planes of 3 features",
        "Curves of the mean weights of each cluster",
        "Profiles of the 3 weights",
    ]
    assert len(told) == len(wanted)
    for start, alt in zip(wanted, told, strict=True):
        assert alt.startswith(start)
    assert len({attrs["src"] for attrs in pictures}) == len(pictures)
    assert "Clusters of the nodes, by number. Least stable: 1 (0.50), 0 (1.00)." in whole
    assert len(Page(small).of("img")) == 5


def test_the_tables_tell_the_model(whole, small):
    cells = Page(whole).cells
    for known in ("trustworthiness of 10 neighbors", "0.96875", "0.75", "123,456", "hexagonal", "cells.zarr", "66"):
        assert known in cells
    row = cells.index("a")
    assert cells[row : row + 7] == ["a", "0", "550", "1,100", "7.25", "3.5", "12"]
    assert cells[cells.index("center") :][:3] == ["center", "scale", "samples without"]
    row = cells.index("4", cells.index("epochs done"))
    assert cells[row : row + 4] == ["4", "1", "0.1", "-"]  # no radius after the last epoch
    assert "center" not in Page(small).cells


def test_the_table_of_epochs_tells_the_phase_where_there_are_two(small, model):
    cells = Page(small).cells
    assert cells[cells.index("epochs done") :][:2] == ["epochs done", "quantization error"]
    words = ["rough", "rough", "fine-tuning", "fine-tuning", "fine-tuning"]
    cells = Page(report_html(model.assign_coords(phase=("epoch", words)))).cells
    start = cells.index("epochs done")
    assert cells[start + 1] == "phase"
    assert [cells[start + 5 + 5 * k :][:2] for k in range(5)] == [[str(k), word] for k, word in enumerate(words)]


def test_hostile_names_are_text():
    names = ['<script src="http://x"></script>', "\"' onload=alert(1)", "$\\frac{$ & $"]
    model = model_of(Lattice(2, 2), names)
    model.attrs["input"] = "</td><img src=x onerror=alert(1)>"
    labels = xr.Dataset({"class_count": (("row", "col", "class"), np.ones((2, 2, 2)))}, {"class": ["<b>", "_$$"]})
    page = Page(report_html(model, title="<h1>&", labels=labels))
    assert page.of("script") == []
    assert all(attrs["src"].startswith("data:") for attrs in page.of("img"))
    for name in (*names, model.attrs["input"]):
        assert name in page.cells
    assert "<h1>&" in page.text
    assert len(page.of("h1")) == 1


@pytest.mark.parametrize("lattice", [Lattice(1, 1), Lattice(1, 9), Lattice(4, 2, "rectangular", "toroidal")])
def test_odd_maps(lattice):
    model = model_of(lattice, ["a", "b"])
    model["codebook"][..., 1] = np.nan
    model["topographic_error"][:] = np.nan
    assert len(Page(report_html(model)).of("img")) == 5


def test_fields_of_each_variable():
    model = model_of(Lattice(2, 2), [f"p{i}" for i in range(8)])
    model = model.assign_coords(lat=("feature", [0, 0, 1, 1] * 2), lon=("feature", [0, 1] * 4))
    model = model.assign_coords(variable=("feature", np.array(["<z>"] * 4 + ["t"] * 4, dtype=object)))
    told = [attrs["alt"] for attrs in Page(report_html(model)).of("img")]
    assert told[3:7] == [
        f"Fields of variable {v} over longitude and latitude, {kind}"
        for v in ("<z>", "t")
        for kind in ("one for each node", "less the mean of all nodes")
    ]


def test_what_is_too_much_is_told():
    model = model_of(Lattice(25, 40, "rectangular"), ["a"])
    assert "up to 900 nodes" in "".join(Page(report_html(model)).text)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("clusters", xr.Dataset({"x": 1}), "clusters have no variable cluster, only x"),
        ("clusters", xr.Dataset({"cluster": 1}), "clusters is of a map of None x None"),
        ("labels", xr.Dataset(), "labels have no variable class_count, only none"),
        ("evaluation", xr.Dataset(attrs={"model_codebook_sha256": "0" * 64}), "evaluation is of another map"),
        ("evaluation", xr.Dataset({"x": (("row", "col"), np.zeros((4, 3)))}), "evaluation is of a map of 4 x 3"),
    ],
)
def test_what_is_of_another_map_is_refused(name, other, message, model):
    with pytest.raises(SchemaError, match=message):
        report_html(model, **{name: other})


def test_a_report_is_written_whole_and_replaced_only_if_allowed(model, small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "som_dask.plotting.report.report_html", lambda _, title="": small.replace("<h1>", f"<h1>{title}")
    )
    place = tmp_path / "new" / "report.html"
    write_report(model, place, title="first")
    first = place.read_text(encoding="utf-8")
    assert "<h1>first" in first
    with pytest.raises(StorageError, match="exists already"):
        write_report(model, place)
    assert place.read_text(encoding="utf-8") == first
    write_report(model, place, title="second", overwrite=True)
    second = place.read_text(encoding="utf-8")
    assert "<h1>second" in second

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(model, place, overwrite=True)
    assert place.read_text(encoding="utf-8") == second
    assert os.listdir(place.parent) == ["report.html"]


def test_other_files_are_never_overwritten(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path / "notes.txt", tmp_path):
        with pytest.raises(StorageError, match="not an HTML page"):
            write_report(model, place, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_without_matplotlib(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ParameterError, match=r"som_dask\[plot\]"):
        write_report(model, tmp_path / "report.html")
    assert os.listdir(tmp_path) == []


def test_hits_are_drawn_again_only_where_they_are_of_other_samples():
    model = model_of(Lattice(2, 3), ["a", "b"])
    for change, drawn in ((0, 0), (1, 1)):
        evaluation = xr.Dataset({"hits": (model["hits"] + change).assign_attrs(long_name="samples of others")})
        told = [attrs["alt"] for attrs in Page(report_html(model, evaluation=evaluation)).of("img")]
        assert told.count("Map of samples of others") == drawn


def test_a_folder_that_can_not_be_made(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"can't make the folder .*file"):
        write_report(model, tmp_path / "file" / "report.html")
