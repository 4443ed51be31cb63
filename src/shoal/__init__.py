"""Shoal: an open virtual power plant."""

__version__ = "0.1.0"
