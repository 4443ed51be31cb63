"""Unit tests of the site agent."""
