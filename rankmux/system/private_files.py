"""Files with secrets: whether other users of the machine can read them."""

from __future__ import annotations

import os
import stat

__all__ = ["exposure"]


def exposure(path: str, status: os.stat_result) -> str:
    """Says that other users can read the file, and what to do; "" if they cannot.

    A group may read it if it is a group of ours and root decided so: that is how Kubernetes mounts a secret for
    `fsGroup`. systemd's credentials carry an access control list, which looks like a group's permission; only this
    service can see them. Any other list is refused, for it may name other users.
    """
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o077:
        return ""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep):
        return ""
    if status.st_mode & 0o037 == 0 and _granted_by_root(status) and not _has_list(path):
        return ""
    return f"others can read it (mode {stat.S_IMODE(status.st_mode):04o}); run {_cure(path, status)}"


def _granted_by_root(status: os.stat_result) -> bool:
    return status.st_uid == 0 and status.st_gid in {os.getegid(), *os.getgroups()}


def _has_list(path: str) -> bool:
    """Whether the file has an access control list."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (OSError, AttributeError):  # none, or a system without them
        return False


def _cure(path: str, status: os.stat_result) -> str:
    from shlex import quote

    if status.st_uid == os.geteuid():
        return f"chmod 600 {quote(path)}"
    if _granted_by_root(status) and not _has_list(path):
        return f"chmod 440 {quote(path)}"
    return f"chown {os.geteuid()} {quote(path)} and chmod 600 {quote(path)}"
