"""Connections: their lives, what they are owed, and their deadlines."""
