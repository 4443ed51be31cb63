"""The benchmarks: one module each, with its `BENCHMARK`; `shoal.cli.bench` finds them by being here."""
