"""Groups of any hierarchy: their trees, their past joined to now, what bounds them."""
