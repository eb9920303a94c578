"""A member's side of the protocol."""
