"""Fuzzing for hours: targets, plain readers to hold them against, and a program that feeds them; see docs/testing.md."""
