"""The drawings of the turn, of a connection's life and of a cluster in docs/design.md.

    python docs/img/design.py

The second is drawn from the table of states in `rankmux.server.connections.states`; a test says when it is old.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from pathlib import Path

from rankmux.server.connections.states import STEPS, State, Step

HERE = Path(__file__).parent
STYLE = """<style>
  svg { --paper: #ffffff; --ink: #1f2328; --soft: #57606a; --line: #8c959f; --fill: #ddf4ff; --gone: #ffebe9; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #161b22; --ink: #e6edf3; --soft: #9da7b3; --line: #6e7681; --fill: #12324f; --gone: #4d1f1e; }
  }
  text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }
  .soft { fill: var(--soft); font-size: 12px; }
  .box { fill: var(--fill); stroke: var(--line); }
  .gone { fill: var(--gone); stroke: var(--line); }
  .line { fill: none; stroke: var(--line); stroke-width: 1.5; marker-end: url(#tip); }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L8 4L0 8z" fill="var(--line)"/></marker></defs>"""
WIDTH, HEIGHT = 128, 52
TURN = {
    "gather": "accept, read",
    "order": "one entry",
    "apply": "ranks, frames",
    "deliver": "one send each",
    "judge": "deadlines, limits",
    "close": "last words, close",
}
LIVE = {
    State.HANDSHAKE: (20, 24),
    State.GREETING: (172, 24),
    State.JOINING: (324, 24),
    State.MEMBER: (476, 24),
    State.BROKEN: (628, 24),
    State.OBSERVER: (400, 112),  # between the lines that go down from its neighbours
}
OVER = {
    State.ENDED: (172, 268),
    State.ENDING: (324, 268),
    State.LINGERING: (476, 268),
    State.DEAD: (324, 372),
}
BUS = 192  # where the arrows of one step, from several states to one, run together


def drawing(title: str, description: str, width: int, height: int, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-labelledby="t d">\n<title id="t">{escape(title)}</title>\n'
        f'<desc id="d">{escape(description)}</desc>\n{STYLE}\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="var(--paper)"/>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def box(x: int, y: int, name: str, words: str, kind: str = "box") -> str:
    middle = x + WIDTH // 2
    lines = [f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>']
    lines.append(f'<text x="{middle}" y="{y + 22}">{escape(name)}</text>')
    lines.append(f'<text class="soft" x="{middle}" y="{y + 40}">{escape(words)}</text>')
    return "\n".join(lines)


def arrow(path: str, word: str = "", at: tuple[int, int] = (0, 0)) -> str:
    text = f'\n<text class="soft" x="{at[0]}" y="{at[1]}">{escape(word)}</text>' if word else ""
    return f'<path class="line" d="{path}"/>{text}'


def turn() -> str:
    """Six boxes in a row of three and a row of three, and back to the start."""
    places = [(60 + 200 * column, 24 + 112 * row) for row in range(2) for column in range(3)]
    parts = [box(*place, name, words) for place, (name, words) in zip(places, TURN.items(), strict=True)]
    for (x, y), (next_x, next_y) in pairwise(places):
        if y == next_y:
            parts.append(arrow(f"M{x + WIDTH} {y + 26}L{next_x - 2} {y + 26}"))
        else:
            parts.append(
                arrow(f"M{x + 64} {y + HEIGHT}L{x + 64} 106L{next_x + 64} 106L{next_x + 64} {next_y - 2}")
            )
    last, first = places[-1], places[0]
    parts.append(
        arrow(
            f"M{last[0] + WIDTH} {last[1] + 26}H612V210H30V{first[1] + 26}H{first[0] - 2}",
            "wait until something is ready",
            (324, 226),
        )
    )
    text = "Gather, order, apply, deliver, judge, close; then wait until something is ready, and again."
    return drawing("A turn of the server", text, 640, 240, parts)


def states() -> str:
    """The table of a connection's life: a box for each state, an arrow for each step."""
    parts = [box(*place, state.name, state.value.partition(",")[0]) for state, place in LIVE.items()]
    parts += [
        box(*place, state.name, state.value.rpartition(", ")[2], "gone") for state, place in OVER.items()
    ]
    places = LIVE | OVER
    for step, (legal, following) in STEPS.items():
        x, y = places[following]
        if len(legal) == 1:
            from_x, from_y = places[legal[0]]
            if from_y != y:
                at = from_x + WIDTH - 12
                parts.append(arrow(f"M{at} {from_y + HEIGHT}V{y - 2}", step.name.lower(), (at + 34, y - 14)))
                continue
            middle = (from_x + WIDTH + x) // 2
            parts.append(
                arrow(f"M{from_x + WIDTH} {y + 26}L{x - 2} {y + 26}", step.name.lower(), (middle, y - 6))
            )
            continue
        bus = BUS if step is Step.END else (y + places[legal[0]][1] + HEIGHT) // 2
        for state in legal:
            from_x, from_y = places[state]
            parts.append(
                f'<path class="line" style="marker-end:none" d="M{from_x + 64} {from_y + HEIGHT}V{bus}"/>'
            )
        ends = [places[state][0] + 64 for state in legal]
        parts.append(f'<path class="line" style="marker-end:none" d="M{min(ends)} {bus}H{max(ends)}"/>')
        parts.append(arrow(f"M{x + 64} {bus}V{y - 2}", step.name.lower(), (x + 92, bus + 26)))
    text = "; ".join(
        f"{step.name}: {', '.join(state.name for state in legal)} to {following.name}"
        for step, (legal, following) in STEPS.items()
    )
    return drawing("The life of a connection", text, 776, 444, parts)


def cluster() -> str:
    """Three servers over one log; the first with the way of a turn through it."""
    parts = ['<rect class="box" x="20" y="24" width="680" height="44" rx="4"/>']
    for at, words in enumerate(["41 s2", "42 s1", "43 s3", "44 s1", "45 s2"]):
        parts.append(f'<text class="soft" x="{190 + 90 * at}" y="52">{words}</text>')
    parts.append('<text x="84" y="52">the log</text>')
    steps = [("gather", "members' frames"), ("fold", "the same state"), ("deliver", "own members alone")]
    for at, (name, words) in enumerate(steps):
        parts.append(box(20 + 160 * at, 170, name, words))
    parts.append(arrow("M84 168V72", "write, and keep until read back", (184, 132)))
    parts.append(arrow("M292 70V166", "read in order", (336, 110)))
    parts.append(arrow("M308 196H336"))
    parts.append(arrow("M404 222V262", "", (0, 0)))
    parts.append('<text class="soft" x="404" y="282">members of s1</text>')
    parts.append(arrow("M84 262V226", "", (0, 0)))
    parts.append('<text class="soft" x="84" y="282">members of s1</text>')
    parts.append('<rect class="gone" x="160" y="238" width="176" height="40" rx="4"/>')
    parts.append(
        '<text x="248" y="256">fence</text><text class="soft" x="248" y="271">nothing read back: stop</text>'
    )
    for at, name in enumerate(["s2", "s3"]):
        x = 500 + 104 * at
        parts.append(f'<rect class="box" x="{x}" y="170" width="92" height="52" rx="4"/>')
        parts.append(f'<text x="{x + 46}" y="192">{name}</text>')
        parts.append(f'<text class="soft" x="{x + 46}" y="210">the same</text>')
        parts.append(arrow(f"M{x + 30} 168V72"))
        parts.append(arrow(f"M{x + 62} 70V166"))
        parts.append(f'<text class="soft" x="{x + 46}" y="282">members of {name}</text>')
        parts.append(arrow(f"M{x + 46} 222V262"))
    text = (
        "Each of three servers writes what its members did into one log, reads all of the log in order, makes the same "
        "state of it, and delivers to its own members alone; a server that reads nothing of its own back is fenced."
    )
    return drawing("Several servers over one log", text, 720, 300, parts)


DRAWINGS = {"design-turn.svg": turn, "design-states.svg": states, "design-cluster.svg": cluster}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (HERE / name).write_text(draw())
