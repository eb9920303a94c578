"""A TLS 1.3 client that sends KeyUpdate messages, which Python's `ssl` cannot: OpenSSL's own library, by `ctypes`."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import ssl
import time
from functools import cache
from pathlib import Path
from typing import Any

from .floods import PATIENCE_S

AT_ONCE = 1000
_NOT_REQUESTED = 0
_CTRL_SET_MIN_PROTO_VERSION = 123
_TLS1_3 = 0x0304
_BUFFER = 1 << 16


@cache
def library() -> Any:
    """The libssl that the interpreter's `ssl` has loaded."""
    assert ssl.HAS_TLSv1_3
    loaded = {
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libssl" in line
    }
    path = min(loaded, default=ctypes.util.find_library("ssl"))
    assert path, "OpenSSL's library is not to be found"
    lib = ctypes.CDLL(path)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, *arguments in (
        ("TLS_client_method", pointer),
        ("SSL_CTX_new", pointer, pointer),
        ("SSL_CTX_free", None, pointer),
        ("SSL_CTX_ctrl", ctypes.c_long, pointer, number, ctypes.c_long, pointer),
        ("SSL_new", pointer, pointer),
        ("SSL_free", None, pointer),
        ("SSL_set_connect_state", None, pointer),
        ("SSL_set_bio", None, pointer, pointer, pointer),
        ("SSL_do_handshake", number, pointer),
        ("SSL_key_update", number, pointer, number),
        ("BIO_s_mem", pointer),
        ("BIO_new", pointer, pointer),
        ("BIO_read", number, pointer, ctypes.c_char_p, number),
        ("BIO_write", number, pointer, ctypes.c_char_p, number),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class KeyUpdates:
    """A finished handshake over the blocking `sock`, and then `more`: KeyUpdates, encrypted and ready to be sent.

    Making one takes as long as reading it: those of `stock_s` are made ahead, to be sent faster than a peer reads.
    """

    def __init__(self, sock: socket.socket, stock_s: float) -> None:
        lib = library()
        self._context = lib.SSL_CTX_new(lib.TLS_client_method())
        lib.SSL_CTX_ctrl(self._context, _CTRL_SET_MIN_PROTO_VERSION, _TLS1_3, None)
        self._tls = lib.SSL_new(self._context)
        self._incoming, self._outgoing = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
        lib.SSL_set_bio(self._tls, self._incoming, self._outgoing)  # SSL_free frees them too
        lib.SSL_set_connect_state(self._tls)
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        deadline = time.monotonic() + PATIENCE_S
        while lib.SSL_do_handshake(self._tls) != 1:
            if time.monotonic() > deadline:
                raise TimeoutError
            sock.sendall(self._take())
            data = sock.recv(_BUFFER)
            if not data:
                raise ConnectionResetError
            lib.BIO_write(self._incoming, data, len(data))
        sock.sendall(self._take())
        self._stock, until = b"", time.monotonic() + stock_s
        while time.monotonic() < until:
            self._stock += self._make(AT_ONCE)

    def more(self) -> bytes:
        """Further KeyUpdates."""
        stock, self._stock = self._stock, b""
        return stock or self._make(AT_ONCE)

    def free(self) -> None:
        """Free the memory of OpenSSL."""
        library().SSL_free(self._tls)
        library().SSL_CTX_free(self._context)

    def _make(self, count: int) -> bytes:
        lib, tls = library(), self._tls
        for _ in range(count):
            if lib.SSL_key_update(tls, _NOT_REQUESTED) != 1 or lib.SSL_do_handshake(tls) != 1:
                raise ConnectionAbortedError("OpenSSL makes no KeyUpdate")
        return self._take()

    def _take(self) -> bytes:
        parts = []
        while (size := library().BIO_read(self._outgoing, self._buffer, _BUFFER)) > 0:
            parts.append(self._buffer.raw[:size])
        return b"".join(parts)
