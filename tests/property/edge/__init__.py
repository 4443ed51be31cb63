"""Property tests of the site agent."""
