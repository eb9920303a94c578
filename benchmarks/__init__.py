"""Benchmarks of rankmux: a load generator and a bare C server, and what compares them. See README.md."""
