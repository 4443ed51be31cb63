"""The acting path: award to plan, plan to leased set-points, set-points to verified energy."""
