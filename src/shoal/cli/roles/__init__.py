"""The roles of a plant: each composed from its parts, one process each."""
