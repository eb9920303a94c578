"""The server: one process, one thread, one loop."""
