"""`python -m tests.docs.check_api site`: a comparison of the Python page of the built site with the public names."""

from __future__ import annotations

import enum
import re
import sys
from pathlib import Path
from types import ModuleType

import rankmux
import rankmux.aio

_HEADING = re.compile(r'<h\d id="(rankmux\.[^"]+)"')
_WIRE = {"encode", "decode"}
"""Methods of the frames that users see as plain tuples."""


def members(value: object) -> set[str]:
    """The public names of a class, those of the library's base classes included."""
    if not isinstance(value, type):
        return set()
    ours = [kind for kind in value.__mro__ if kind.__module__.startswith("rankmux")]
    return {name for kind in ours for name in vars(kind) if not name.startswith("_")} - _WIRE


def entries() -> dict[str, object]:
    """All that the page has an entry for, by the name that users import; numbers have a table instead."""
    found: dict[str, object] = {}
    places: list[ModuleType] = [rankmux, rankmux.aio, rankmux.errors]
    for place in places:
        for name in place.__all__:
            value = getattr(place, name)
            known = any(value is other for other in found.values())
            number = isinstance(value, type) and issubclass(value, enum.Enum)
            if not (known or number or name.startswith("_") or isinstance(value, ModuleType)):
                found[f"{place.__name__}.{name}"] = value
    found["rankmux.errors.RankmuxError"] = found.pop("rankmux.RankmuxError")  # with the others
    return found


def public_names() -> set[str]:
    """All names that the page is to show."""
    names = {f"{name}.{member}" for name, value in entries().items() for member in members(value)}
    elsewhere = ("rankmux.errors.", "rankmux.ServerSettings.")  # described in the text, or on a separate page
    return {name for name in names if not name.startswith(elsewhere)} | entries().keys()


def shown_names(page: str) -> set[str]:
    """All names that a built page shows."""
    shown = set(_HEADING.findall(page))
    # Attributes of exceptions are described in the text.
    return {name for name in shown if not re.match(r"rankmux\.errors\.\w+\.", name)}


def problems(page: str) -> list[str]:
    """The differences, one per line."""
    shown, public = shown_names(page), public_names()
    return [f"not shown: {name}" for name in sorted(public - shown)] + [
        f"shown, but not public: {name}" for name in sorted(shown - public)
    ]


def main(argv: list[str]) -> int:
    found = problems((Path(argv[0]) / "python.html").read_text())
    print("\n".join(found) or "the Python page shows all public names, and no other")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
