"""Services in real time (pure): regulation, frequency response, smoothing, peak shaving, and how they are scored."""
