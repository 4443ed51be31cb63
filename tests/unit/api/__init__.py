"""The doors, without a network."""
