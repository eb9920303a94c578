"""The loops that move bytes between sockets and turns, and their compiled twins."""
