"""A real S3 server on loopback for tests: moto's, in a thread of the process that tests."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator

import pytest

__all__ = ["make_bucket", "serve_s3"]


@contextlib.contextmanager
def serve_s3() -> Iterator[str]:
    """Start a server, and tell this process and those that it starts where it is; yield its address."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    told = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in told.items():
            patched.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
            patched.delenv(name, raising=False)
        try:
            yield address
        finally:
            running.stop()


def make_bucket() -> str:
    """Make a bucket of its own for a test; return its URL."""
    import s3fs

    name = f"test-{uuid.uuid4().hex[:16]}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"
