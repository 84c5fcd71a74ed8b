"""Claims on URLs: one run at a time writes there, and one that was killed gives way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from som_dask.errors import StorageError
from som_dask.io import claims
from som_dask.io.claims import check_claimed, claim
from som_dask.io.files import names_in, read_bytes, write_bytes

HOLD = """
import sys
from som_dask.io.claims import claim
with claim(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(url):
    """Start a process that claims a URL; return it when it does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", HOLD, url], **pipes)
    assert other.stdout.readline() == "held\n"
    return other


def test_one_holds_a_claim_and_lets_go(storage):
    url = f"{storage}/out.zarr"
    with claim(url):
        assert names_in(storage) == [".out.zarr.claim.1"]
        check_claimed(url)
        with claim(f"{url}/"):  # in itself
            check_claimed(url)
        with claim(f"{storage}/other.zarr"):
            check_claimed(url)
        with ThreadPoolExecutor(1) as pool, pytest.raises(StorageError) as caught:
            pool.submit(lambda: claim(url).__enter__()).result()
        assert str(caught.value).startswith(f"another run (process {os.getpid()} on ")
    assert names_in(storage) == []
    with pytest.raises(StorageError, match="another run has taken over"):
        check_claimed(url)


def test_of_many_that_begin_at_once_one_holds_it(storage):
    url, barrier, most = f"{storage}/out.zarr", Barrier(6), []

    def attempt(i):
        barrier.wait()
        try:
            with claim(url):
                most.append(i)
                barrier.wait()  # until all have tried
                return "held"
        except StorageError as error:
            barrier.wait()
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(attempt, range(6)))
    assert found.count("held") == 1
    assert all("is writing" in text for text in found if text != "held")
    assert names_in(storage) == []


def test_a_killed_process_of_this_machine_gives_way_at_once(bucket):
    url = f"{bucket}/out.zarr"
    with hold(url) as other:
        with pytest.raises(StorageError, match=rf"another run \(process {other.pid} on .*\) is writing {url}; wait"):
            claim(url).__enter__()
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert names_in(bucket) == [".out.zarr.claim.1"]
        with claim(url):
            check_claimed(url)
            assert sorted(names_in(bucket)) == [".out.zarr.claim.1", ".out.zarr.claim.2"]
    assert names_in(bucket) == []


@pytest.mark.parametrize(("age", "gives_way"), [(0, False), (claims.LEASE - 60, False), (claims.LEASE + 1, True)])
def test_a_process_elsewhere_gives_way_when_it_has_not_been_heard_of(age, gives_way, storage):
    url = f"{storage}/out.zarr"
    told = {"host": "elsewhere", "process": 1, "started": 0.0, "token": "", "renewed": time.time() - age}
    write_bytes(f"{storage}/.out.zarr.claim.7", json.dumps(told).encode())
    if gives_way:
        with claim(url):
            assert ".out.zarr.claim.8" in names_in(storage)
        assert names_in(storage) == []
    else:
        with pytest.raises(StorageError, match=r"process 1 on elsewhere.*gives way after 180 s"):
            claim(url).__enter__()
        assert names_in(storage) == [".out.zarr.claim.7"]


def test_what_is_no_claim_is_left_alone(storage):
    write_bytes(f"{storage}/.out.zarr.claim.1", b"something")
    with pytest.raises(StorageError, match="is no claim of som_dask; remove it"):
        claim(f"{storage}/out.zarr").__enter__()
    assert read_bytes(f"{storage}/.out.zarr.claim.1") == b"something"


def test_a_holder_finds_out_that_it_was_taken_over(storage):
    url = f"{storage}/out.zarr"
    with claim(url):
        write_bytes(f"{storage}/.out.zarr.claim.2", b"of another")
        with pytest.raises(StorageError, match="another run has taken over"):
            check_claimed(url)
    assert names_in(storage) == [".out.zarr.claim.2"]  # which is not its own


def test_claims_are_renewed(storage, monkeypatch):
    monkeypatch.setattr(claims, "RENEWAL", 0.01)
    url = f"{storage}/.out.zarr.claim.1"
    with claim(f"{storage}/out.zarr"):
        first = json.loads(read_bytes(url))["renewed"]
        deadline = time.monotonic() + 60
        while json.loads(read_bytes(url))["renewed"] == first:
            assert time.monotonic() < deadline


def test_a_storage_that_can_not_be_written_to(s3_server):
    with pytest.raises(StorageError, match=r"can't write s3://no-such-bucket-here/\.x\.claim\.1: .*; choose another"):
        claim("s3://no-such-bucket-here/x").__enter__()


def test_claims_may_overlap(tmp_path):
    one, other = (f"memory://{tmp_path.name}/{name}.zarr" for name in ("one", "other"))
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(claim(one))
        second.enter_context(claim(other))
        first.close()
        check_claimed(other)
        with pytest.raises(StorageError, match="taken over"):
            check_claimed(one)
        second.close()
        with pytest.raises(StorageError, match="taken over"):
            check_claimed(other)
