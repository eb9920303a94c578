"""Benchmarks of rankmux: a load generator, a bare C server, and their comparison. See README.md."""
