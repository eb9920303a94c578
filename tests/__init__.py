"""The tests mirror the package, one file to a module."""
