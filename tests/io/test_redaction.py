"""Credentials: no spelling of one gets past, and what is none is left alone."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.errors import ParameterError
from som_dask.io.redaction import check_no_credentials, is_secret_name, redact

HIDDEN = "hUnTeR2secret"
WITH_CREDENTIALS = [
    f"s3://AKIAEXAMPLE:{HIDDEN}@bucket/cells.zarr",
    f"s3://AKIAEXAMPLE:ab/{HIDDEN}/cd@bucket/cells.zarr",
    f"S3://AKIAEXAMPLE:{HIDDEN}@bucket",
    f"https://user:{HIDDEN}@example.org:8443/cells.zarr",
    f"https://:{HIDDEN}@example.org/cells.zarr",
    f"https://{HIDDEN}@example.org/cells.zarr",
    f"https://me@example.org:{HIDDEN}@example.org/cells.zarr",
    f"ftp://user:p@{HIDDEN}@example.org/cells.zarr",
    f"https:/user:{HIDDEN}@example.org/cells.zarr",
    f"//user:{HIDDEN}@server/share/cells.zarr",
    f"simplecache::s3://key:{HIDDEN}@bucket/cells.zarr",
    f"zip://cells.zarr::https://user:{HIDDEN}@example.org/cells.zip",
    f"abfs://container:{HIDDEN}@account.dfs.core.windows.net/cells.zarr",
    f"https://bucket.s3.amazonaws.com/c.zarr?X-Amz-Algorithm=AWS4&X-Amz-Signature={HIDDEN}",
    f"https://bucket.s3.amazonaws.com/c.zarr?x-amz-credential={HIDDEN}%2F20250101&x=1",
    f"https://bucket.s3.amazonaws.com/c.zarr?X-Amz-Security-Token={HIDDEN}",
    f"https://bucket.s3.amazonaws.com/c.zarr?X%2DAmz%2DSignature={HIDDEN}",
    f"https://bucket.s3.amazonaws.com/c.zarr%3FX-Amz-Signature%3D{HIDDEN}",
    f"https://bucket.s3.amazonaws.com/c.zarr?AWSAccessKeyId={HIDDEN}&Expires=1",
    f"https://storage.googleapis.com/b/c.zarr?X-Goog-Signature={HIDDEN}",
    f"https://storage.googleapis.com/b/c.zarr?GoogleAccessId=a&Signature={HIDDEN}%2B",
    f"https://account.blob.core.windows.net/c/x.zarr?sv=2022-11-02&se=2030-01-01&sr=b&sig={HIDDEN}%3D",
    f"https://example.org/c.zarr?SIG={HIDDEN}",
    f"https://example.org/c.zarr?token={HIDDEN}",
    f"https://example.org/c.zarr?a=1;access_token={HIDDEN}",
    f"https://example.org/c.zarr#access_token={HIDDEN}",
    f"https://example.org/c.zarr?a=1&amp;api-key={HIDDEN}",
    f"https://example.org/c.zarr?password={HIDDEN}",
    f"https://example.org/c.zarr?key={HIDDEN}",
    f"https%3A%2F%2Fuser%3A{HIDDEN}%40example.org%2Fc.zarr",
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={HIDDEN}==;EndpointSuffix=core.windows.net",
]
WITHOUT = [
    "cells.zarr",
    "/data/me@example.org/cells.zarr",
    "s3://bucket/cells@v1.zarr",
    "http://127.0.0.1:9000/bucket/cells@v1.zarr",
    "tcp://10.0.0.1:8786",
    "abfs://container@account.dfs.core.windows.net/cells.zarr",
    "simplecache::abfss://container@account.dfs.core.windows.net/cells.zarr",
    "https://example.org/c.zarr?versionId=3&sv=2022-11-02",
    "64 MiB",
    "",
]
IN_WORDS = [
    f"can't open https://user:12/{HIDDEN}@example.org/cells.zarr",  # or a port and an odd path: struck out anyway
    f"403 for password={HIDDEN}",
    f"aws_secret_access_key = '{HIDDEN} {HIDDEN}'",
    f"{{'secret': '{HIDDEN}', 'anon': False}}",
    f'{{"token": "{HIDDEN}"}}',
    f"Authorization: Bearer {HIDDEN}",
    f"headers had Bearer {HIDDEN}0123456789",
]


@pytest.mark.parametrize("place", WITH_CREDENTIALS)
def test_a_place_with_a_credential_is_refused_and_struck_out(place):
    with pytest.raises(ParameterError, match=r"input holds a credential .* environment") as refused:
        check_no_credentials({"input": place})
    assert HIDDEN not in str(refused.value)
    message = redact(f"can't open {place} as a Zarr store: 403")
    assert HIDDEN not in message
    assert message.startswith("can't open ")
    assert message.endswith("as a Zarr store: 403")


@pytest.mark.parametrize("place", WITHOUT)
def test_a_place_without_passes(place):
    check_no_credentials([place, (Path(place), 3, None)])


@pytest.mark.parametrize("place", [place for place in WITHOUT if ":9000" not in place])
def test_a_place_without_is_left_as_it_is(place):
    assert redact(f"can't open {place}: gone") == f"can't open {place}: gone"


@pytest.mark.parametrize("text", IN_WORDS)
def test_a_credential_in_words_is_struck_out(text):
    assert HIDDEN not in redact(text)
    assert "***" in redact(text)


def test_entries_with_telling_names_are_refused():
    with pytest.raises(ParameterError, match="secret is a credential"):
        check_no_credentials({"storage_options": {"secret": HIDDEN}})
    assert is_secret_name("X-Amz-Security-Token")
    assert not is_secret_name("keep")
    assert not is_secret_name("X-Amz-Expires")


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("Z", "C"), exclude_characters="*"),
    min_size=6,
    max_size=40,
)


@given(SECRETS, st.sampled_from(["s3", "https", "sftp", "gcs"]), st.booleans())
def test_no_password_gets_through(secret, scheme, encoded):
    place = f"{scheme}://user:{quote(secret, safe='') if encoded else secret}@host/cells.zarr"
    if encoded:
        with pytest.raises(ParameterError):
            check_no_credentials(place)
    told = redact(f"can't open {place}: gone")
    assert secret not in told.replace("cells.zarr: gone", "")
    assert quote(secret, safe="") not in told


@given(SECRETS, st.sampled_from(["X-Amz-Signature", "sig", "token", "Key", "client_secret"]))
def test_no_signature_gets_through(secret, name):
    place = f"https://host/cells.zarr?a=1&{name}={quote(secret, safe='/+=')}&b=2"
    with pytest.raises(ParameterError):
        check_no_credentials(place)
    assert quote(secret, safe="/+=") not in redact(f"can't open {place}: gone")
