"""Properties of the stream operators."""
