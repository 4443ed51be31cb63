"""What is on record: bids, awards, statements, runs, the history of telemetry."""
