"""The system's errors of sockets and files in plain English: what is wrong and, where that is clear, what to do.

Knows no setting and no flag.
"""

from __future__ import annotations

import errno
import os

__all__ = ["UNIX_PATH_MAX_BYTES", "file_reason", "socket_reason", "unix_reason"]

UNIX_PATH_MAX_BYTES = 107
"""The longest path of a Unix socket, on Linux; some systems allow less."""

_FILES = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "permission denied to this user",
    errno.EPERM: "permission denied to this user",
    errno.EISDIR: "it is a directory, expected a file",
    errno.ENOTDIR: "a part of its path is no directory",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ELOOP: "it is a symbolic link, or a circle of them",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
}
_SOCKETS = {
    errno.EACCES: "permission denied",
    errno.ECONNREFUSED: "nobody listens there",
    errno.ECONNRESET: "the connection was reset",
    errno.EHOSTUNREACH: "there is no way to that host",
    errno.ENETUNREACH: "no network of this machine leads to that address",
    errno.EADDRNOTAVAIL: "no local port is free, or the address is none of this machine's networks",
    errno.EINVAL: "not a usable address; a link-local one needs its interface, as in fe80::1%eth0",
    errno.EMFILE: "this process has no file descriptor left",
    errno.ENFILE: "this machine has no file descriptor left",
    errno.ENOBUFS: "this machine has no memory left for sockets",
    errno.ENOMEM: "this machine has no memory left",
    errno.EAFNOSUPPORT: "this machine has no such kind of address",
}


def _names() -> dict[int, str]:
    import socket  # a client of a held seat does without it

    nameless = "name not known"
    names = {socket.EAI_NONAME: nameless, socket.EAI_AGAIN: "the name cannot be looked up for now"}
    return names | {getattr(socket, "EAI_NODATA", socket.EAI_NONAME): nameless}


def file_reason(error: Exception) -> str:
    """Why a file cannot be read or written."""
    if not isinstance(error, OSError):  # a NUL in the path
        return str(error)
    if error.strerror and error.errno and error.strerror != os.strerror(error.errno):
        return error.strerror  # of our own
    return _FILES.get(error.errno or 0) or error.strerror or str(error)


def socket_reason(error: Exception) -> str:
    """Why there is no connection, or no socket."""
    if isinstance(error, UnicodeError):
        return "not a valid name"
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    if type(error).__name__ == "gaierror":
        return _names().get(error.errno or 0) or error.strerror or str(error)
    return _SOCKETS.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


def unix_reason(path: str, error: OSError) -> str:
    """Why nothing can be reached, or made, at `path`, the path of a Unix socket."""
    size = len(os.fsencode(path))
    if error.errno is None and size > UNIX_PATH_MAX_BYTES:
        return f"the path is too long ({size} bytes, a Unix socket has at most {UNIX_PATH_MAX_BYTES})"
    folder = os.path.dirname(path) or "."
    match error.errno:
        case errno.EADDRINUSE:
            return "something else is there already; remove it, or choose another path"
        case errno.ECONNREFUSED if not _is_socket(path):
            return "it is not a socket"
        case errno.ECONNREFUSED:
            return "the socket is left over, nobody listens at it"
        case errno.ENOENT if os.path.isdir(folder):
            return "there is no such socket"
        case errno.ENOENT:
            return f"there is no directory {folder}"
        case errno.EACCES | errno.EPERM:
            return "permission denied to this user"
    return file_reason(error)


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
