"""The wire protocol seen from outside: real servers, plain sockets, a client of its own."""
