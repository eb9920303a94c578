"""Completion, man pages and reference pages, generated from the parsers."""
