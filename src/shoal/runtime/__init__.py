"""What every process of the plant needs: settings, logs, time, supervision and an operations endpoint."""
