"""The numbers, layouts and frames of the protocol."""
