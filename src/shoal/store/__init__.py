"""What the plant remembers: the registry, the ledger of the market cycle, and the history of telemetry."""
