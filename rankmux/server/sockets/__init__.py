"""Sockets: listening, TLS, and the tables indexed by file descriptor."""
