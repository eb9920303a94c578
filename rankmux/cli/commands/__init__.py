"""The subcommands of rankmux-client."""
