"""Limits of connections, operating envelopes, owners' hours."""
