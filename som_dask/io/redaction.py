"""Credentials in text: refuse them in the parameters of a run, and replace them in what is written about it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from som_dask.errors import ParameterError

__all__ = ["STRUCK", "check_no_credentials", "is_secret_name", "redact"]

STRUCK = "***"
ENVIRONMENT = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or fsspec's configuration"

# `scheme://user:password@host`. A password may hold slashes, though it should not; pathlib leaves one slash of two.
PASSWORD = re.compile(r"(:/+|//)[^\s/?#:]*:\S*@")
# `scheme://token@host`. Azure's `abfs://container@account` looks alike and holds no secret.
USER = re.compile(r"(?<![A-Za-z0-9+.-])(?!(?:abfss?|wasbs?):)([A-Za-z][A-Za-z0-9+.-]+:/+)[^\s/?#]*@", re.IGNORECASE)
PORT = re.compile(r"(:/+[^\s/?#@:]*):\d{1,5}(?=[/?#]|$)")
KEYS = "(?:access|account|api|shared)[_.-]?key|googleaccessid"
SECRET = rf"password|passwd|passphrase|secret|token|signature|credentials?|authorization|{KEYS}"
NAME = rf"[\w.-]*?(?:{SECRET})(?:[_.-]?(?:id|key))?"
SHORT = "auth|key|pass|pwd|sig"  # names of credentials in a URL, but ordinary words in a sentence
ITEM = re.compile(rf"([?&;#](?:{NAME}|{SHORT})=)[^&\s]*", re.IGNORECASE)
PAIR = re.compile(
    rf"(?<![\w.-])({NAME}['\"]?\s*[=:]\s*(?:(?:bearer|basic)\s+)?)(\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE
)
BEARER = re.compile(r"\b(bearer|basic)(\s+)[\w+/=.~-]{16,}", re.IGNORECASE)
WORD = re.compile(r"\S+")


def is_secret_name(name: str) -> bool:
    """Whether a value with this name is a credential: ``password``, ``X-Amz-Signature``, ``sig``, ..."""
    return re.fullmatch(f"{NAME}|{SHORT}", name, re.IGNORECASE) is not None


def redact(text: str) -> str:
    """Replace whatever looks like a credential in a text, such as the message of an error.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The text with ``***`` in place of user info in URLs, signatures, and values whose names suggest credentials.
        Harmless text may be replaced too, for it is better to replace too much than too little.
    """
    text = WORD.sub(lambda word: STRUCK if _contains_encoded_credential(word[0]) else word[0], text)
    text = PASSWORD.sub(rf"\1{STRUCK}@", text)
    text = USER.sub(rf"\1{STRUCK}@", text)
    text = ITEM.sub(rf"\1{STRUCK}", text)
    text = PAIR.sub(rf"\1{STRUCK}", text)
    return BEARER.sub(rf"\1\2{STRUCK}", text)


def check_no_credentials(value: Any, name: str = "the parameter") -> None:
    """Refuse a parameter that contains a credential, in a URL or as an entry whose name suggests one.

    Parameters
    ----------
    value : object
        Strings and paths are checked, and the entries of mappings, lists and tuples; other objects are accepted.
    name : str
        What the message of the error calls the parameter. The message never contains the value.

    Raises
    ------
    ParameterError
        If the parameter contains a credential.
    """
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if is_secret_name(str(key)) and isinstance(entry, str):
                raise ParameterError(f"{key} is a credential; put it in the environment instead ({ENVIRONMENT})")
            check_no_credentials(entry, str(key))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            check_no_credentials(entry, name)
    elif isinstance(value, (str, os.PathLike)) and any(
        _contains_credential(text) for text in _decodings(str(os.fspath(value)))
    ):
        raise ParameterError(
            f"{name} holds a credential (user info, a signature or a key), which would be written down; "
            f"take it out of the URL and put it in the environment ({ENVIRONMENT})"
        )


def _decodings(text: str) -> tuple[str, ...]:
    once = unquote(text)
    return text, once, unquote(once)


def _contains_credential(text: str) -> bool:
    text = "".join(text.split())
    url = PORT.sub(r"\1", text)  # a port followed by an @ further on is not a password
    return bool(PASSWORD.search(url) or USER.search(url) or ITEM.search(text))


def _contains_encoded_credential(text: str) -> bool:
    return (
        "%" in text
        and not _contains_credential(text)
        and any(_contains_credential(decoded) for decoded in _decodings(text))
    )
