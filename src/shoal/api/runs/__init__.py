"""Workflow runs: what a decision knew, and the decision made again."""
