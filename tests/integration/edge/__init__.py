"""Tests of the site agent against a real broker."""
