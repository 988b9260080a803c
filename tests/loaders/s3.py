"""An S3-compatible server on loopback, and what is in its buckets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest

BUCKET = "caches"


def s3_options(endpoint: str) -> dict[str, Any]:
    """Return the storage options for the server at `endpoint`."""
    return {
        "key": "name",
        "secret": "s3cr3t",
        "client_kwargs": {"endpoint_url": endpoint, "region_name": "eu-west-1"},
        "config_kwargs": {"retries": {"max_attempts": 1}},
    }


def s3_environment(endpoint: str) -> dict[str, str]:
    """Return the same as environment variables, for commands."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "name",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """Yield the URL of a server that has one bucket, BUCKET."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    files(url).mkdir(BUCKET)
    yield url
    server.stop()


def files(endpoint: str) -> Any:  # Any: fsspec has no types
    """Return the file system of the server."""
    return fsspec.filesystem("s3", skip_instance_cache=True, **s3_options(endpoint))


def objects(endpoint: str, folder: str) -> dict[str, bytes]:
    """Return the bytes of everything below `folder` of the bucket, by name."""
    system = files(endpoint)
    place = f"{BUCKET}/{folder}/"
    return {path.removeprefix(place): system.cat_file(path) for path in system.find(place)}
