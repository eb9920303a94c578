"""Fuzzing of the code that reads untrusted bytes: `python -m tests.fuzz --seconds 60`."""
