"""The interactive prompt of rankmux-client."""
