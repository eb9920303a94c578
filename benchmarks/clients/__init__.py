"""The Python clients beside what people would use instead: what each load does, the rounds, the table."""
