"""The courier: a process that carries a server's entries to the log in NATS JetStream, and reads the log for it."""
