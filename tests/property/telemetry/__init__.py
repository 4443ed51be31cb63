"""Properties of the telemetry path."""
