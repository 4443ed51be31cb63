"""The controller with real stores, a real fabric and real agents."""
