"""Fuzzing what reads a stranger's bytes: `python -m tests.fuzz --seconds 60`."""
