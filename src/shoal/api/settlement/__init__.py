"""Settled days down to their intervals, and where the money went."""
