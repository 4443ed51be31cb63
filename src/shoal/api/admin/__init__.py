"""Administration: devices, programs, markets, feeds, the system, who did what."""
