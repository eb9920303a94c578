"""The tests of rankmux.cli."""
