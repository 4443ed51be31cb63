"""Bounded streams: small operators between a source and a sink, each with back-pressure and statistics."""
