"""The doors, with real servers."""
