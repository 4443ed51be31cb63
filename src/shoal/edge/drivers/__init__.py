"""Drivers: how the site agent reads and commands what stands at its site."""
