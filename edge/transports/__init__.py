"""Sockets below the connection: lines in, bytes out, close; nothing else."""
