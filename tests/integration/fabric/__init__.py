"""The fabric against a real server."""
