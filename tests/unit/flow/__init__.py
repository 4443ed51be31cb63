"""Tests of the stream operators."""
