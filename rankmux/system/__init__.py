"""The operating system as rankmux uses it; nothing here knows the protocol."""
