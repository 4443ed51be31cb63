"""The measuring path: journal to twins, aggregates and history."""
