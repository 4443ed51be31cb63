"""Forecasts with their uncertainty: price models in `price`, the scores that judge them in `score`."""
