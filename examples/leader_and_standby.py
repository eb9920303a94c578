"""Leader and standby: one process works, the others stand by; when it dies, the next in line takes over.

    rankmux-server &
    python examples/leader_and_standby.py       # in two terminals or more; then kill -9 the one that leads

Rank 0 leads. It does job 1, 2, 3 ... and sends the number to the members below after each, so that any of them can
continue from there. When it ends, for whatever reason, the server moves the others up, and the new rank 0 leads.

- Leading is bound to the seat. When the seat is gone, every call raises, so no process leads without one.
- A member that has just joined learns the number with the next job. Data that must survive the death of all processes
  belongs in a store.
- A leader that dies between a job and its announcement leaves a job that is done twice: jobs must tolerate that.
- A leader that is cut off works on until it notices. Its writes elsewhere should carry its ticket: the next leader's is
  larger, so a store that has seen that one can refuse the smaller.
"""

from __future__ import annotations

import argparse
import os
import random
import time

from rankmux import Client, Promoted, ReceivedCommand
from rankmux.errors import ConnectionLost, ServerError


class Service:
    """The state that outlives a leader: the number of the last job done."""

    def __init__(self) -> None:
        self.last_job = 0

    def learn(self, command: ReceivedCommand) -> None:
        """The leader has finished a job."""
        self.last_job = int(command.payload)

    def lead(self, client: Client, pace_s: float) -> None:
        """Work until the seat is gone, which raises."""
        print(f"leading from job {self.last_job + 1} on, with ticket {client.ticket}", flush=True)
        while True:
            client.wait(lambda: False, pace_s)  # reads, also the last command of the leader before
            job = self.last_job + 1
            # ... the work goes here ...
            self.last_job = job
            informed = client.command(str(job), results=True, timeout=5).wait().ok
            print(f"job {job} done, ticket {client.ticket}, {informed} standing by", flush=True)


def promoted(news: Promoted) -> None:
    print(f"rank {news.rank}, was {news.before}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7117)
    parser.add_argument("--name", default=f"service-{os.getpid()}")
    parser.add_argument(
        "--pace", type=float, default=1.0, metavar="SECONDS", help="the time between two jobs"
    )
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
