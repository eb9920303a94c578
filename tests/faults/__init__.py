"""The fault tests: at least one for every row of the list, with real processes, sockets and signals."""
