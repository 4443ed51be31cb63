"""The command line: one module a command, registered by `main`; heavy imports wait until a command runs."""
