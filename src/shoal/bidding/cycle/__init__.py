"""The cycle of a gate: trigger, gather, forecast, optimise, build, validate, submit, confirm, award, plan."""
