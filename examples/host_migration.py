"""Host migration: a small game that survives its host. Every player rolls a die; 100 points win.

    rankmux-server &
    python examples/host_migration.py --name ada        # in three terminals or more, with different names

Rank 0 is the host. Each round it sends the scores to the players below, and their rolls come back as results: members
cannot command a senior, but they answer. So every player holds the same snapshot. When the host vanishes (kill -9), the
next in line continues from the last snapshot; later rolls are repeated.

A host that was only cut off loses its seat, joins again as a guest, and gets the game's current state.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time

from rankmux import Client, ReceivedCommand, Status
from rankmux.errors import ConnectionLost, ServerError


class Game:
    """One player's view: the last snapshot. Only the host changes it."""

    def __init__(self, player: str, goal: int) -> None:
        self.player = player
        self.goal = goal
        self.round = 0
        self.scores: dict[str, int] = {}

    @property
    def over(self) -> bool:
        return max(self.scores.values(), default=0) >= self.goal

    def roll(self) -> int:
        return random.randint(1, 6)

    def snapshot(self) -> str:
        return json.dumps({"round": self.round, "scores": self.scores})

    def guest(self, command: ReceivedCommand) -> str:
        """The host sends its snapshot: keep it, and roll."""
        state = json.loads(command.payload)
        self.round, self.scores = state["round"], state["scores"]
        self.show("guest")
        return json.dumps([self.player, self.roll()])

    def host(self, client: Client, pace_s: float) -> None:
        """Play rounds until the game is over; raises when the seat is gone."""
        client.poll()  # the last host may have sent a snapshot just before its end
        print(f"hosting from round {self.round + 1} on", flush=True)
        while not self.over:
            rolls = [[self.player, self.roll()]]
            receipt = client.command(self.snapshot(), results=True, timeout=2)  # nobody is below: no rolls
            rolls += [json.loads(answer.payload) for answer in receipt if answer.status is Status.OK]
            for player, points in rolls:
                self.scores[player] = self.scores.get(player, 0) + points
            self.round += 1
            self.show("host")
            client.wait(lambda: False, pace_s)
        client.command(self.snapshot(), results=True, timeout=2).wait()  # so that the others see the end

    def show(self, role: str) -> None:
        scores = ", ".join(f"{player} {points}" for player, points in sorted(self.scores.items()))
        print(f"round {self.round} ({role}): {scores}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7117)
    parser.add_argument("--name", default=f"player-{os.getpid()}", help="different for each player")
    parser.add_argument("--pace", type=float, default=0.5, metavar="SECONDS", help="between two rounds")
    parser.add_argument("--goal", type=int, default=100, metavar="POINTS", help="the same for all")
    options = parser.parse_args()
    game = Game(options.name, options.goal)
    while not game.over:
        try:
            with Client(options.host, options.port, name=options.name, handler=game.guest) as client:
                print(f"{options.name}: rank {client.rank}", flush=True)
                client.wait(lambda: game.over or client.rank == 0, None)
                if not game.over:
                    game.host(client, options.pace)
        except (ConnectionLost, ServerError, TimeoutError) as error:
            print(f"{error}; joining again, as a guest", flush=True)
            time.sleep(random.uniform(0.1, 1.0))  # not all at once
    print(f"{max(game.scores, key=lambda player: game.scores[player])} wins", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("left")
