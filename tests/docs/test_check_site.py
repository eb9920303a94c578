"""The check of the built site."""

from __future__ import annotations

import pytest

from .check_site import main, problems

GOOD = """<html><head><link rel="stylesheet" href="a/style.css"></head>
<body><h1 id="top">x</h1><a href="#top">up</a><a href="a/two.html#two">two</a><img src="a/picture.svg">
<a href="https://example.org/">elsewhere</a></body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "a" / "two.html").write_text('<h2 id="two">two</h2><a href="../index.html#top">one</a>')
    (tmp_path / "a" / "style.css").write_text("p { background: url(picture.svg) }")
    (tmp_path / "a" / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    return tmp_path


def test_a_good_site(site):
    assert problems(site) == []
    assert main([str(site)]) == 0


@pytest.mark.parametrize(
    ("where", "text", "found"),
    [
        ("index.html", '<a href="three.html">', "three.html is not there"),
        ("index.html", '<a href="a/two.html#three">', "no such place"),
        ("index.html", '<img src="a/none.png">', "none.png is not there"),
        ("index.html", '<source srcset="a/picture.svg 1x, a/none.svg 2x">', "none.svg is not there"),
        ("index.html", '<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example"),
        ("index.html", '<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example"),
        ("a/style.css", "@font-face { src: url('https://fonts.example/x') }", "loads https://fonts.example"),
        ("a/picture.svg", "<style>@import '//fonts.example/x';</style>", "loads //fonts.example"),
    ],
)
def test_faults_are_found(site, where, text, found):
    path = site / where
    path.write_text(path.read_text() + text)
    (line,) = problems(site)
    assert found in line
    assert main([str(site)]) == 1


def test_no_site(tmp_path):
    assert len(problems(tmp_path)) == 1
