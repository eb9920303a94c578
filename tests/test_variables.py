from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rankmux.cli.shared.connection_flags import add_connection_flags, client_options
from rankmux.cli.shared.sources import load
from rankmux.config import Config, settings
from rankmux.errors import ConfigError, ConfigErrors
from rankmux.server.server import Server
from rankmux.variables import doubtful, value_of

from .protocol.process import ROOT, environment

KUBERNETES = {
    "RANKMUX_PORT": "tcp://10.43.0.1:7117",
    "RANKMUX_SERVICE_HOST": "10.43.0.1",
    "RANKMUX_SERVICE_PORT": "7117",
    "RANKMUX_SERVICE_PORT_CLIENTS": "7117",
    "RANKMUX_PORT_7117_TCP": "tcp://10.43.0.1:7117",
    "RANKMUX_PORT_7117_TCP_PROTO": "tcp",
    "RANKMUX_PORT_7117_TCP_PORT": "7117",
    "RANKMUX_PORT_7117_TCP_ADDR": "10.43.0.1",
    "RANKMUX_ADMIN_PORT": "tcp://10.43.0.2:7118",
    "RANKMUX_ADMIN_SERVICE_HOST": "10.43.0.2",
}
KNOWN = [setting.variable for setting in settings()]


def client(monkeypatch, *flags, **variables):
    for name in list(os.environ):
        if name.startswith("RANKMUX_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    add_connection_flags(parser)
    return client_options(parser.parse_args(flags))


def run(*words, **variables):
    command = [sys.executable, "-m", "rankmux", *words]
    env = {**environment(False), **variables}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_service_of_kubernetes_with_our_name(monkeypatch):
    config, sources = load({}, KUBERNETES)
    assert config == Config()
    assert sources["port"] == "default"
    assert client(monkeypatch, **KUBERNETES)["port"] == 7117
    assert load({"port": "1"}, KUBERNETES)[0].port == 1
    assert list(doubtful(KUBERNETES, KNOWN)) == []
    listen = {"RANKMUX_LISTEN_PORT": "tcp://10.43.0.1:7117"}  # of a Service called rankmux-listen
    code, _, err = run("server", "--check-config", "--port", "0", **KUBERNETES, **listen)
    assert code == 0
    assert err == (
        "rankmux-server: ignoring RANKMUX_LISTEN_PORT=tcp://10.43.0.1:7117, which Kubernetes sets for a Service called"
        " rankmux; enableServiceLinks: false in the pod turns that off\n"
    )


OF_CLIENTS = {
    "RANKMUX_HOST": "a.example:7117,b.example",
    "RANKMUX_PORT": "x",
    "RANKMUX_UNIX": "/nowhere/socket",
    "RANKMUX_SEAT": "/nowhere/seat",
    "RANKMUX_HISTORY": "/nowhere/history",
    "RANKMUX_ADMIN_URL": "nowhere",
    "RANKMUX_RANK": "0",
    "RANKMUX_TICKET": "1",
    "RANKMUX_BATON_FILE": "/nowhere/baton",
}


def test_variables_of_clients_never_stop_a_server():
    code, out, err = run("server", "--check-config", **OF_CLIENTS | {"RANKMUX_LISTEN_PORT": "0"})
    assert code == 0
    assert 'host = "127.0.0.1"  # default' in out
    assert "port = 0  # environment" in out
    assert 'unix = ""  # default' in out
    assert err.splitlines() == [
        f"rankmux-server: RANKMUX_{name} is for clients, the server's is RANKMUX_LISTEN_{name}"
        for name in ("HOST", "UNIX")  # not for the port: the server has a separate variable for it
    ]


def test_a_variable_for_a_unix_socket_yields_to_flags_that_name_a_server(monkeypatch):
    variables = {"RANKMUX_UNIX": "/run/socket", "RANKMUX_HOST": "h", "RANKMUX_PORT": "5"}
    assert client(monkeypatch, **variables)["unix"] == "/run/socket"
    for flags in (("--host", "127.0.0.1"), ("--port", "7117"), ("--host", "h", "--port", "1")):
        assert "unix" not in client(monkeypatch, *flags, **variables)
    assert client(monkeypatch, "--unix", "/other", **variables)["unix"] == "/other"
    for flags in (("--host", "h"), ("--port", "1")):
        with pytest.raises(ConfigError, match="--unix is '/other': expected it without --host and --port"):
            client(monkeypatch, "--unix", "/other", *flags)


def test_a_variable_for_the_certificates_of_the_server(monkeypatch, certificate):
    ours = str(certificate[0])
    assert client(monkeypatch, RANKMUX_TLS_CA=ours)["ssl_context"].get_ca_certs()
    assert len(client(monkeypatch, "--tls", RANKMUX_TLS_CA=ours)["ssl_context"].get_ca_certs()) == 1
    assert client(monkeypatch, "--unix", "/run/socket", RANKMUX_TLS_CA=ours)["ssl_context"] is None
    assert client(monkeypatch, RANKMUX_UNIX="/run/socket", RANKMUX_TLS_CA=ours)["ssl_context"] is None
    with pytest.raises(ConfigError, match="RANKMUX_TLS_CA is '/none': cannot read the file"):
        client(monkeypatch, RANKMUX_TLS_CA="/none")
    assert client(monkeypatch, RANKMUX_TLS_CA="")["ssl_context"] is None
    assert list(doubtful({"RANKMUX_TLS_CA": ours}, KNOWN)) == []


def test_a_client_by_the_variable_of_a_unix_socket(tmp_path):
    path = tmp_path / "socket"
    with Server(unix=str(path)):
        code, _, err = run("client", "send", "x", RANKMUX_UNIX=str(path))
    assert code == 4, err
    assert run("client", "send", "x", RANKMUX_UNIX=str(path))[0] == 5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RANKMUX_HOST", "x:y", "RANKMUX_HOST is 'x:y': expected HOST or HOST:PORT"),
        ("RANKMUX_TOKEN_FILE", "/none", "RANKMUX_TOKEN_FILE is '/none': cannot read the file: there is no"),
    ],
)
def test_a_variable_is_named_where_no_flag_was_given(name, value, words):
    code, _, err = run("client", "who", **{name: value})
    assert code == 2
    assert words in err


def test_empty_counts_as_not_set(monkeypatch, tmp_path):
    path = tmp_path / "rankmux.toml"
    path.write_text("seats = 5\n")
    config, sources = load({}, dict.fromkeys(KNOWN, ""), str(path))
    assert config == Config(seats=5)
    assert set(sources.values()) == {"default", "file"}
    empty = {f"RANKMUX_{name}": "" for name in ("HOST", "PORT", "TOKEN_FILE")}
    options = client(monkeypatch, **empty)
    assert (options["host"], options["port"], options["token"]()) == ("127.0.0.1", 7117, b"")
    others = {"RANKMUX_CONFIG": "", "RANKMUX_TOKEN": "", "RANKMUX_EXTENSION": ""}
    assert run("server", "--check-config", "--port", "0", **others)[::2] == (0, "")


@pytest.mark.parametrize("value", ["x", "0", "65536", "7117 ", "²", "1" * 5000])
def test_an_error_in_a_variable_names_the_variable(monkeypatch, value):
    with pytest.raises(ConfigError, match=r"^RANKMUX_PORT is "):
        client(monkeypatch, RANKMUX_PORT=value)
    assert client(monkeypatch, "--port", "5", RANKMUX_PORT=value)["port"] == 5
    code, _, err = run("client", "who", RANKMUX_PORT=value)
    assert code == 2
    assert err.startswith("rankmux-client: RANKMUX_PORT is ")
    assert "--port" not in err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RANKMUX_SEATZ", "RANKMUX_SEATS"),
        ("RANKMUX_TOKENFILE", "RANKMUX_TOKEN_FILE"),
        ("RANKMUX_LISTEN_PROT", "RANKMUX_LISTEN_PORT"),
        ("RANKMUX_LOG_FORMAT_", "RANKMUX_LOG_FORMAT"),
        ("RANKMUX_SEAT", None),  # a held seat of the client
        ("RANKMUX_RANK", None),
        ("RANKMUX_COLOUR", None),
        ("OTHER_SEATS", None),
    ],
)
def test_a_misspelt_variable(name, hint):
    expected = [(name, f"unknown variable {name}; did you mean {hint}?")] if hint else []
    assert list(doubtful({name: "5"}, KNOWN)) == expected
    assert list(doubtful({name: ""}, KNOWN)) == []


def test_values_that_count_as_set():
    environ = {"A": "", "B": "x", "C": "tcp://10.0.0.1:1", "D": "udp://10.0.0.1:1"}
    assert [value_of(environ, name) for name in "ABCDE"] == [None, "x", None, None, None]


def test_all_errors_at_once(tmp_path):
    path = tmp_path / "rankmux.toml"
    path.write_text('seat = 5\nport = "x"\nlog_level = "loud"\n')
    with pytest.raises(ConfigErrors) as caught:
        load({"ping_ms": "0"}, {"RANKMUX_DRAIN_S": "nan"}, str(path))
    keys = [error.key for error in caught.value.errors]
    assert keys == ["seat", f"port in {path}", f"log_level in {path}", "--ping-ms", "RANKMUX_DRAIN_S"]
    code, out, err = run("server", "--config", str(path))
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("rankmux-server: ") for line in lines)
    assert lines[0] == f'rankmux-server: unknown setting "seat" in {path}; did you mean "seats"?'


def test_the_health_check_of_the_image_uses_no_proxy():
    """A proxy for everything would answer for the server, or not reach it."""
    text = Path(ROOT, "deploy", "Dockerfile").read_text().replace("\\\n", "")
    found = re.search(r'CMD \["python", "-c", "(.*)"\]', text)
    assert found
    proxied = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            proxied.append(self.path)
            self.send_response(200 if self.path == "/healthz" else 502)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever).start()
        proxy = "http://127.0.0.1:1"
        try:
            port = server.server_address[1]
            done = subprocess.run(
                [sys.executable, "-c", found[1].replace("7118", str(port))],
                env={**os.environ, "http_proxy": proxy, "HTTP_PROXY": proxy, "all_proxy": proxy},
                timeout=20,
                check=False,
            )
        finally:
            server.shutdown()
    assert (done.returncode, proxied) == (0, ["/healthz"])
