"""What was delivered and what it is worth: energy from meter registers in `energy`, money in `statement`."""
