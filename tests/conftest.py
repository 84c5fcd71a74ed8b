"""What all tests share: a seeded generator, storages, and hypothesis set so that each run tries the same examples."""

import io
import sys
import uuid

import numpy as np
import pytest
from hypothesis import settings

from tests.s3 import make_bucket, serve_s3

settings.register_profile("som_dask", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("som_dask")


@pytest.fixture
def rng():
    """A generator of random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on loopback that serves all tests."""
    with serve_s3() as address:
        yield address


@pytest.fixture
def bucket(s3_server):
    """URL of a bucket that only this test uses."""
    return make_bucket()


@pytest.fixture(params=["memory", "s3"])
def storage(request):
    """URL of a folder that only this test uses, in memory and on the S3 server."""
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    return f"memory://test-{uuid.uuid4().hex[:16]}"


@pytest.fixture
def open_terminal(monkeypatch):
    """Open a terminal in place of standard error, as a test must do itself: pytest sets that before each."""

    def open_one():
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return open_one
