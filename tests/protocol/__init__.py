"""The wire protocol seen from outside: real servers, plain sockets, and an independent client."""
