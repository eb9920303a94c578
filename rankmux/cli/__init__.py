"""The commands: `rankmux-server`, `rankmux-client`, `rankmux-top`. Flags, logging, signals and exit codes."""
