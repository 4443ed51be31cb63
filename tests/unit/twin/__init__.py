"""Unit tests of the twins."""
