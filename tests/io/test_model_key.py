"""Keys and references: checked names, versions in the order of their numbers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from som_dask.errors import ParameterError
from som_dask.io.model_key import ModelKey, Reference, check_name, version_sort_key

ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
KEY = ModelKey("dev", "photo", "0.1.0", "1", 3)


def test_keys_are_written_and_read():
    assert str(KEY) == "dev/photo/0.1.0/1/3"
    assert ModelKey.parse(str(KEY)) == KEY
    assert ModelKey.parse(KEY) is KEY


@given(st.text() | st.text(sorted(ALLOWED | {"/"})))
@example("..")
@example("a..b")
@example("/etc")
@example("a/b")
@example("")
@example(".hidden")
@example("-option")
@example("a\n")
@example("é")
@example("a\x00")
@example("a" * 101)
@example("a" * 100)
@example("1.2.3-rc_1")
def test_a_name_is_one_plain_folder_or_refused(name):
    plain = set(name) <= ALLOWED and 1 <= len(name) <= 100 and name[0].isalnum() and ".." not in name
    if plain:
        assert check_name("name", name) == name
        assert str(ModelKey(name, name, name, name, 1)).split("/") == [name] * 4 + ["1"]
    else:
        for i in range(4):
            parts = ["a"] * 4
            parts[i] = name
            with pytest.raises(ParameterError, match="can't be used; use up to 100"):
                ModelKey(*parts, 1)


@pytest.mark.parametrize("revision", [0, -1, 1.0, True, "x", "", "01", "1/2", None, 10**9])
def test_revisions_are_whole_numbers_from_one(revision):
    with pytest.raises(ParameterError, match="revision"):
        ModelKey("dev", "photo", "0.1.0", "1", revision)


@pytest.mark.parametrize("name", [None, 3, b"a"])
def test_names_are_text(name):
    with pytest.raises(ParameterError, match="can't be used"):
        check_name("name", name)


@pytest.mark.parametrize("text", ["", "photo", "dev/photo/0.1.0/1", "dev/photo/0.1.0/1/2/3", "/dev/photo/0.1.0/1"])
def test_what_is_no_key(text):
    with pytest.raises(ParameterError):
        ModelKey.parse(text)


def test_versions_sort_by_their_numbers():
    versions = [
        "alpha",
        "v2",
        "v10",
        "0.9",
        "1",
        "1.0.dev1",
        "1.0",
        "1.0.0a1",
        "1.0.0rc1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
    ]
    backwards = versions[::-1]
    assert sorted(backwards, key=version_sort_key) == versions


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True), unique=True))
def test_any_versions_have_one_order(versions):
    assert len({version_sort_key(version) for version in versions}) == len(versions)
    backwards = versions[::-1]
    assert sorted(versions, key=version_sort_key) == sorted(backwards, key=version_sort_key)


def test_keys_sort_oldest_first():
    keys = [
        ModelKey("dev", "a", "1.9.0", "2", 7),
        ModelKey("dev", "a", "1.10.0", "1", 2),
        ModelKey("dev", "a", "1.10.0", "1", 10),
        ModelKey("dev", "a", "1.10.0", "2", 1),
        ModelKey("dev", "b", "0.1", "1", 1),
    ]
    backwards = keys[::-1]
    assert sorted(backwards, key=ModelKey.sort_key) == keys


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("photo@dev", ("photo", "dev")),
        ("photo@dev:1.2.3", ("photo", "dev", "1.2.3")),
        ("photo@dev:1.2.3/2", ("photo", "dev", "1.2.3", "2")),
        ("photo@dev:1.2.3/2/5", ("photo", "dev", "1.2.3", "2", 5)),
        ("dev/photo/1.2.3/2/5", ("photo", "dev", "1.2.3", "2", 5)),
    ],
)
def test_references(text, parts):
    assert Reference.parse(text) == Reference(*parts)
    if "@" in text:
        assert str(Reference(*parts)) == text


def test_a_reference_shows_the_part_that_is_left_out():
    assert str(Reference("photo", "dev", model_version="7")) == "photo@dev:*/7"
    assert str(Reference("photo", "dev", revision=3)) == "photo@dev:*/*/3"


@pytest.mark.parametrize(
    "text", ["@dev", "photo@", "photo@dev:", "photo@dev:1/", "a@b@c", "a@b:1/2/x", "a@b:1/2/3/4", "../a@b", "photo"]
)
def test_what_is_no_reference(text):
    with pytest.raises(ParameterError):
        Reference.parse(text)
