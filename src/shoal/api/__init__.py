"""The doors for people and machines: HTTP, the live socket and the page."""
