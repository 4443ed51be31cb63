"""Tests of the market rules."""
