"""A held seat and its control socket."""
