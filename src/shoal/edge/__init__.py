"""The site agent: its wire, its decision, its store and forward, and the referee that checks it."""
