"""The rules of a room and the bytes of its protocol: no I/O, no clock, no threads, no logging."""
