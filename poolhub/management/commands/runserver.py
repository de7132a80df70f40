"""Django's `runserver`, on daphne: sockets too.

daphne itself is not among INSTALLED_APPS: every process would import it, and Twisted, where only two commands use it.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
