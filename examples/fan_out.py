"""Fan-out: one member asks all others and gathers their answers.

    rankmux-server &
    python examples/fan_out.py                  # in three terminals or more: the first asks, the others answer

Every two seconds rank 0 asks the members below for the load of their machines. A member that is killed meanwhile ends
as LEFT, one that does not answer in time (kill -STOP) as EXPIRED, one whose handler raises as FAILED: each ends in
exactly one way, so the table is always complete. When the asking member dies, the next in line asks.
"""

from __future__ import annotations

import argparse
import json
import os
import socket

from rankmux import Client, ReceivedCommand, Rejected, RoutedResult, Status
from rankmux.errors import ConnectionLost, ServerError


def answer(command: ReceivedCommand) -> str:
    """The handler of the other members: returned text is OK, Rejected is REJECTED, any other exception is FAILED."""
    if command.text != "load":
        raise Rejected(f"this answers 'load', not {command.text!r}")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "load": os.getloadavg()[0]})


def ask(client: Client, timeout_s: float) -> None:
    """Ask the members below, as rank 0 does."""
    receipt = client.command("load", results=True, timeout=timeout_s)
    if not receipt.executors:
        print("nobody is below; start this once more in another terminal", flush=True)
        return
    results = receipt.gather()  # one for each executor, in rank order
    for result in results:
        print(f"{result.rank:>6}  {result.status.name:<8}  {shown(result)}", flush=True)
    loads = [json.loads(result.payload)["load"] for result in results if result.status is Status.OK]
    mean = f"mean load {sum(loads) / len(loads):.2f}" if loads else "no answer"
    print(f"{len(loads)} of {receipt.executors} answered, {mean}", flush=True)


def shown(result: RoutedResult) -> str:
    if result.status is Status.OK:
        facts = json.loads(result.payload)
        return f"{facts['host']} (process {facts['pid']}): {facts['load']:.2f}"
    return result.text  # the text of an exception; empty for LEFT and EXPIRED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7117)
    parser.add_argument("--name", default=f"machine-{os.getpid()}")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=1.0, metavar="SECONDS", help="for an answer")
    options = parser.parse_args()
    # Nothing here depends on one seat, so `reconnect` is enough: a lost connection is restored.
    with Client(options.host, options.port, name=options.name, handler=answer, reconnect=True) as client:
        print(f"{options.name}: rank {client.rank}", flush=True)
        while True:
            client.wait_for_rank(0)  # runs `answer` meanwhile
            try:
                ask(client, options.timeout)
            except (ConnectionLost, ServerError, TimeoutError) as error:
                print(f"{error}; asking again later", flush=True)
            client.wait(lambda: False, options.every)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("left")
    except (ConnectionLost, ServerError, TimeoutError) as error:
        raise SystemExit(str(error)) from None
