"""A homeowner's own home."""
