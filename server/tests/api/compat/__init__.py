"""The unmodified public clients against this server, from the outside only."""
