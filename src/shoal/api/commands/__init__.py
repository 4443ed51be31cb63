"""The doors of commands: orders, kill switches, the audit."""
