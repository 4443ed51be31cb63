"""Recorded results of `shoal bench`; the benchmarks themselves are in `shoal.cli.benches`."""
