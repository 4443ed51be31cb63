"""Alarms: those that stand, by their causes, and what people said of them."""
