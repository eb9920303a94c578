"""Leader and standby: of all who run this, one works; when it dies, the next in line goes on where it was.

    rankmux-server &
    python examples/leader_and_standby.py       # in two terminals or more; then kill -9 the one that leads

Rank 0 leads. It does job 1, 2, 3 ... and tells those below after each, so that any of them can go on from there.
When it ends, however it ends, the server moves everybody up, and whoever is rank 0 then is the leader.

- To lead is bound to the seat. When the seat is gone every call raises, so nobody goes on leading without one.
- Who has just joined learns with the next job how far it is. What may not be lost, should all who knew it die
  together, belongs into a store.
- A leader that dies after a job and before it has told of it leaves a job that is done twice: jobs must bear that.
- A leader that is cut off works on until it notices. What it writes elsewhere should carry its ticket: the ticket of
  the next leader is larger, so a store that has seen that one can refuse this one's.
"""

from __future__ import annotations

import argparse
import os
import random
import time

from rankmux import Client, Promoted, ReceivedCommand
from rankmux.errors import CommandRefused, ConnectionLost, ServerError


class Service:
    """What has to outlive a leader: the number of the last job that was done."""

    def __init__(self) -> None:
        self.last_job = 0

    def learn(self, command: ReceivedCommand) -> None:
        """The leader says how far it is."""
        self.last_job = int(command.payload)

    def lead(self, client: Client, pace_s: float) -> None:
        """Work until the seat is gone, which raises."""
        print(f"leading from job {self.last_job + 1} on, with ticket {client.ticket}", flush=True)
        while True:
            client.wait(lambda: False, pace_s)  # reads; also what the leader before said last
            job = self.last_job + 1
            # ... here the work is done ...
            self.last_job = job
            try:
                told = client.command(str(job), results=True, timeout=5).wait().ok
            except CommandRefused:  # nobody is below
                told = 0
            print(f"job {job} done, ticket {client.ticket}, {told} standing by", flush=True)


def promoted(news: Promoted) -> None:
    print(f"rank {news.rank}, was {news.before}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7117)
    parser.add_argument("--name", default=f"service-{os.getpid()}")
    parser.add_argument("--pace", type=float, default=1.0, metavar="SECONDS", help="a job takes so long")
    options = parser.parse_args()
    service = Service()
    while True:
        try:
            with Client(
                options.host,
                options.port,
                name=options.name,
                handler=service.learn,
                on_promoted=promoted,
            ) as client:
                print(f"{options.name}: rank {client.rank}", flush=True)
                client.wait_for_rank(0)
                service.lead(client, options.pace)
        except (ConnectionLost, ServerError, TimeoutError) as error:
            print(f"{error}; joining again, as the last in line", flush=True)
            time.sleep(random.uniform(0.1, 1.0))  # not all at once


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("left")
