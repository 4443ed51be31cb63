"""Tests of the build hook."""
