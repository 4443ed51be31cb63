"""Solvers: what storage is worth, what it should do, and how many devices share one set-point."""
