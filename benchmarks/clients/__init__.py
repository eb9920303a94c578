"""The Python clients beside the usual alternatives: what each load does, the rounds, the table."""
