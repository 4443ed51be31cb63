"""Market rules: one module a market, all of them pure; the words they share are in `types`."""
