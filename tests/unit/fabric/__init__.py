"""Unit tests of the fabric."""
