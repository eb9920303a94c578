"""rankmux-top, the room in a terminal."""
