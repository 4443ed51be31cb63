"""Market rules, all of them pure: one module a market, what any market must do in `contract`, their names in `registry`."""
