"""`python -m tests.docs.check_site site`: a check of the built site's links, anchors and pictures.

Zensical checks the links of Markdown pages; this checks the output: pictures, generated pages, the theme, and that
nothing is loaded from another host.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "image": "href"}
_FOREIGN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.pointers: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.names |= {value for key in ("id", "name") if (value := known.get(key))}
        attribute = "href" if tag == "a" else _LOADED.get(tag)
        if attribute and (target := known.get(attribute)):
            self.pointers.append((tag, target))
        if tag in {"img", "source"} and (targets := known.get("srcset")):  # each may be followed by its size
            self.pointers += [(tag, target.split()[0]) for target in targets.split(",")]


def problems(site: Path) -> list[str]:
    """The faults found, one per line."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = [f"{site}: no page at all"] if not pages else []
    for path, page in pages.items():
        for tag, target in page.pointers:
            parts = urlsplit(target)
            if parts.scheme in {"data", "mailto"}:
                continue
            if parts.scheme or parts.netloc:
                if tag != "a":
                    found.append(f"{path}: <{tag}> loads {target}")
                continue
            if path.name == "404.html":
                continue  # it is shown for any path, so its links begin with that of the site
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            there = there / "index.html" if there.is_dir() else there
            if not there.exists():
                found.append(f"{path}: {target} is not there")
            elif parts.fragment and there.suffix == ".html":
                names = next((p.names for known, p in pages.items() if known.resolve() == there), set())
                if unquote(parts.fragment) not in names:
                    found.append(f"{path}: {target} has no such place")
    for path in [*site.rglob("*.css"), *site.rglob("*.svg"), *site.rglob("*.html")]:
        found += [f"{path}: its style loads {url}" for url in _FOREIGN_STYLE.findall(path.read_text())]
    return found


def main(argv: list[str]) -> int:
    found = problems(Path(argv[0]))
    print("\n".join(found) or "all links are good, nothing is loaded from other hosts")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
