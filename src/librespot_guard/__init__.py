"""Finds every librespot service on a host, proves who can reach it, and closes it without locking you out."""

__version__ = "0.1.0"
