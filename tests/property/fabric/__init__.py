"""Properties of the fabric's pure parts."""
