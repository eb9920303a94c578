from __future__ import annotations

import argparse
import os

import pytest

from rankmux.cli.shared.connection_flags import add_connection_flags, client_options
from rankmux.errors import ConfigError

pytestmark = pytest.mark.timeout(20)


def options(*flags):
    parser = argparse.ArgumentParser()
    add_connection_flags(parser)
    return client_options(parser.parse_args([str(flag) for flag in flags]))


def pipe(path):
    os.mkfifo(path)


def without_end(path):
    path.touch()
    os.truncate(path, 1 << 40)


def folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "words"), [(pipe, "it is a pipe"), (without_end, "larger than"), (folder, "directory")]
)
@pytest.mark.parametrize("flag", ["--tls-ca", "--tls-cert", "--tls-key", "--token-file"])
def test_paths_that_are_not_regular_files(flag, make, words, tmp_path, certificate):
    """It is reported as an error of that flag, without blocking on the file."""
    path = tmp_path / "file"
    make(path)
    cert, key = certificate
    flags = {"--tls-cert": cert, "--tls-key": key} if flag == "--tls-key" else {}
    flags[flag] = path
    with pytest.raises(ConfigError, match=words) as caught:
        options(*(word for pair in flags.items() for word in pair))["token"]()
    assert (caught.value.key, caught.value.value) == (flag, str(path))


def test_certificates_from_files(certificate):
    cert, key = certificate
    made = options("--tls-ca", cert, "--tls-cert", cert, "--tls-key", key)
    assert made["ssl_context"].get_ca_certs()
