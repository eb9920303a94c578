"""Flags, exit codes and wording that the programs share."""
