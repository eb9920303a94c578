"""Several servers with one room: a log that they share, and what each of them puts into it."""
