"""Free ports for tests: the stack's own way of finding them."""

from ops.ports import free_port

__all__ = ["free_port"]
