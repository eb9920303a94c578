"""Every row of the list of faults, one test at least, with real processes, sockets and signals."""
