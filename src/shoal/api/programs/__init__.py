"""Programs: their order, and what is on record of a site."""
