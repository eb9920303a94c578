"""Black-box tests of the wire protocol: real servers, plain sockets, and an independent client."""
