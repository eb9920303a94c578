"""A connection to one NATS server, without reconnecting: what is lost is given up whole, and another one is opened.

nats-py's own reconnecting waits for ever when a server that hangs has not taken all bytes, and hides for how long.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import os
import ssl
from collections.abc import Callable
from typing import Any

import nats.errors
import nkeys  # type: ignore[import-untyped, unused-ignore]
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from .credentials import is_seed
from .judging import is_too_old, too_old
from .settings import CourierSettings

__all__ = ["ApiError", "Connection", "TooOld", "Unreachable"]

_CONNECT_S = 0.5
_DIAL_S = 3.0  # name look-up, TLS and the greeting together
_FLUSH_S = 1.0
_CLOSE_S = 0.5
_API_S = 1.0

_NO_RESPONDERS = (
    "NATS answers nothing: turn JetStream on there (`jetstream` in its configuration), or start its others"
)
_NO_JETSTREAM = (10039, 10076)  # for the account, or at all


class Unreachable(Exception):
    """NATS cannot be used at the moment; the text says why."""


class ApiError(Exception):
    """NATS refuses a request: its number for the error, and its text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"


class TooOld(Unreachable):
    """The version of a NATS server is below the least one."""


class _Client(Client):
    """Judges a server by its greeting, before anything secret is sent."""

    demands_tls = False

    def _connect_command(self) -> bytes:
        info = self._server_info
        if is_too_old(version := str(info.get("version", ""))):
            raise nats.errors.Error(too_old(version))
        if self.demands_tls and not info.get("tls_required"):
            raise nats.errors.Error("NATS does not ask for TLS, which the settings demand")
        return super()._connect_command()  # type: ignore[no-any-return, no-untyped-call, unused-ignore]

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Without what was not sent: flushing that raises over a lost connection, and then nothing is tidied up."""
        self._pending.clear()
        self._pending_data_size = 0
        await super()._close(status, do_cbs)  # type: ignore[no-untyped-call, unused-ignore]

    def abort(self) -> None:
        """Close the socket, whatever lies in it."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Connection:
    """Opened by `dial`. `ended` is set once it cannot be used any more; `complain` gets what NATS says by itself."""

    def __init__(self, settings: CourierSettings, complain: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self._settings = settings
        self._complain = complain
        self._client = _Client()
        self._client.demands_tls = settings.uses_tls
        self._refusal: Exception | None = None

    async def dial(self, url: str, tls: ssl.SSLContext | None, creds: str) -> None:
        """Connect to that server, with the text of a file of credentials. Raises Unreachable, TooOld."""
        settings = self._settings
        name = f"rankmux {settings.room} {settings.server_name}".strip()
        try:
            async with asyncio.timeout(_DIAL_S):
                await self._client.connect(
                    [url],
                    name=name,
                    tls=tls,
                    user_credentials=RawCredentials(creds) if creds and not is_seed(creds) else None,
                    nkeys_seed_str=creds if is_seed(creds) else None,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_end,
                    closed_cb=self._on_end,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_S,  # type: ignore[arg-type, unused-ignore]
                    ping_interval=1,
                    max_outstanding_pings=1,
                    flush_timeout=_FLUSH_S,
                )
        except (nkeys.NkeysError, binascii.Error):
            self.abort()
            raise Unreachable(
                "the nkey seed in the file of cluster_creds is damaged: write it anew"
            ) from None
        except (OSError, TimeoutError, nats.errors.Error) as error:
            self.abort()
            cause = self._refusal if isinstance(error, nats.errors.NoServersError) else error
            text = _reason(cause or error)
            if "authorization" in text.lower() or "authentication" in text.lower():
                text += " (not valid, or expired: look at cluster_creds, or the user and password in cluster)"
            if "is too old" in text:
                raise TooOld(text) from None
            raise Unreachable(text) from None
        self._refusal = None

    @property
    def entry_max(self) -> int:
        """The most bytes of one message."""
        return self._client.max_payload

    @property
    def usable(self) -> bool:
        """Whether messages can be sent."""
        return self._client.is_connected and not self.ended.is_set()

    def inbox(self) -> str:
        """A subject of ours that is new."""
        return self._client.new_inbox()

    async def subscribe(self, subject: str, take: Callable[[Msg], Any]) -> Subscription:
        """Have `take`, a coroutine function, called with each message. Raises Unreachable."""
        try:
            return await self._client.subscribe(subject, cb=take, pending_msgs_limit=0, pending_bytes_limit=0)
        except nats.errors.Error as error:
            raise Unreachable(_reason(error)) from None

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Have its messages no longer; a connection that has ended does not mind."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await subscription.unsubscribe()
        except (TimeoutError, nats.errors.Error):
            self.ended.set()

    async def publish(
        self, subject: str, data: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message. Raises Unreachable."""
        try:
            await self._client.publish(subject, data, reply, headers)
        except nats.errors.Error as error:
            raise Unreachable(_reason(error)) from None

    async def ask(self, subject: str, request: object = None) -> dict[str, Any]:
        """The answer to a request to JetStream's API. Raises ApiError, Unreachable."""
        data = b"" if request is None else json.dumps(request).encode()
        try:
            message = await self._client.request(f"$JS.API.{subject}", data, timeout=_API_S)
        except nats.errors.NoRespondersError:
            raise Unreachable(_NO_RESPONDERS) from None
        except nats.errors.TimeoutError:
            raise Unreachable("NATS does not answer in time") from None
        except (OSError, nats.errors.Error) as error:
            raise Unreachable(_reason(error)) from None
        answer: dict[str, Any] = json.loads(message.data)
        if (error_ := answer.get("error")) is not None:
            code, text = error_.get("err_code", 0), error_.get("description", "")
            if code in _NO_JETSTREAM:
                text += ": have `jetstream: enabled` in the account of the user, as deploy/nats.conf has"
            raise ApiError(code, text)
        return answer

    async def check(self) -> None:
        """See to it that the server itself answers. Raises Unreachable."""
        try:
            await self._client.flush(timeout=1)
        except (OSError, nats.errors.Error):
            raise Unreachable("NATS does not answer in time") from None
        if not self.usable:
            raise Unreachable("the connection to NATS has ended")

    def jetstream(self) -> Any:
        """nats-py's own view of JetStream, for its object store."""
        return self._client.jetstream(timeout=_API_S)

    async def close(self) -> None:
        """Give it up, without waiting for a server that hangs."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()
        except (OSError, TimeoutError, nats.errors.Error) as error:
            self._refusal = error
        self.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        self._client.abort()
        self.ended.set()

    async def _on_error(self, error: Exception) -> None:
        self._refusal = error
        text = _reason(error)
        if "permissions violation" in text:
            who = f"the user of {self._settings.creds}" if self._settings.creds else "the user"
            self._complain(f"{text} (any case): give {who} the permissions that deploy/nats.conf has")

    async def _on_end(self) -> None:
        self.ended.set()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | nats.errors.TimeoutError) and not getattr(error, "errno", None):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, OSError) and error.errno:
        return (
            os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
        )  # < 0: of a name look-up
    return str(error).removeprefix("nats: ").strip("'") or type(error).__name__
