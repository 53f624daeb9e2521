"""Clue: identity, policy, the channel log and the directory. The only service that reaches Redis."""
