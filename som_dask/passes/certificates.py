"""Certificates with which a client, a scheduler and workers know each other and encrypt all that they send (TLS)."""

from __future__ import annotations

import os
from typing import Any

import dask
from distributed.security import Security

from som_dask.errors import ClusterError

__all__ = ["certificate_settings", "check_certificates", "is_encrypted"]

ROLES = ("client", "scheduler", "worker")


def certificate_settings(**files: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return the Dask settings under which all connections are encrypted with these certificates.

    Parameters
    ----------
    **files : path or None
        ``tls_ca_file``, ``tls_cert`` and ``tls_key``. What is not given stays as Dask's configuration has it.

    Returns
    -------
    dict
        By dotted name, for `dask.config.set`; empty if no file is given.
    """
    given = {name: os.path.abspath(path) for name, path in files.items() if path is not None}
    settings: dict[str, Any] = {}
    for name, path in given.items():
        if name == "tls_ca_file":
            settings["distributed.comm.tls.ca-file"] = path
        else:
            entry = name.removeprefix("tls_")
            settings |= {f"distributed.comm.tls.{role}.{entry}": path for role in ROLES}
    if given:
        settings |= {"distributed.comm.require-encryption": True, "distributed.comm.default-scheme": "tls"}
    return settings


def is_encrypted(address: str) -> bool:
    """Return whether connections to an address are encrypted."""
    scheme, is_given, _ = address.partition("://")
    return (scheme if is_given else dask.config.get("distributed.comm.default-scheme")) in ("tls", "wss")


def check_certificates(what: str) -> None:
    """Check that Dask's configuration has certificates that can be used.

    Without, a client would leave a thread that never ends.

    Parameters
    ----------
    what : str
        What needs them, for the error.

    Raises
    ------
    ClusterError
        If there are none, or a file is absent, unreadable or no certificate, or the key is that of another.
    """
    names = ["ca-file", *(f"client.{entry}" for entry in ("cert", "key"))]
    files = {name: dask.config.get(f"distributed.comm.tls.{name}", None) for name in names}
    absent = [path for path in files.values() if path and "\n" not in path and not os.path.isfile(path)]
    if absent:
        raise ClusterError(f"the certificates can't be used: there is no file {absent[0]}")
    try:
        context = Security().get_connection_args("client").get("ssl_context")
    except Exception as error:  # of many kinds
        given = ", ".join("(text)" if "\n" in path else path for path in files.values() if path)
        raise ClusterError(f"the certificates ({given}) can't be used: {error}") from error
    if context is None:
        raise ClusterError(
            f"{what} needs certificates; give `tls_ca_file`, `tls_cert` and `tls_key`, or set "
            f"distributed.comm.tls in Dask's configuration"
        )
