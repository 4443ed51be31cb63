"""Standing services: what stands and what it reached."""
