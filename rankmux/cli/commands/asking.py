"""One request to a seat: the channel to it, and the exit code for each way that it can fail."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ...errors import CommandRefused, RankmuxError
from ...system.printable import escaped
from ..seat.channel import HeldSeat, JoinedSeat, open_channel
from ..shared.exit_codes import Exit
from ..shared.wording import complain, why

__all__ = ["ask"]


def ask(arguments: argparse.Namespace, request: Callable[[HeldSeat | JoinedSeat], int]) -> int:
    """Make `request` of the seat that the arguments name; its exit code, or that of its failure."""
    try:
        channel = open_channel(arguments)
        try:
            return request(channel)
        finally:
            channel.close()
    except CommandRefused as error:
        complain(f"refused, {escaped(error.text)}")
        return Exit.REFUSED
    except TimeoutError:
        complain("no answer came in time")
        return Exit.TIMED_OUT
    except RankmuxError as error:
        complain(why(error))
        return Exit.without_connection(error)
