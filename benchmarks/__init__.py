"""Benchmarks of rankmux: a load generator, a bare C server, and the comparison of both. See README.md."""
