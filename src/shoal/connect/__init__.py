"""Adapters to the outside: market gateways and device protocols."""
