"""Forecasts as they were issued, against what came."""
