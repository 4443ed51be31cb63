"""The market cycle: durable workflows from forecast to bid, award and settlement."""
