"""The world outside the plant, simulated: homes with physics, a network with faults, a market with gates."""
