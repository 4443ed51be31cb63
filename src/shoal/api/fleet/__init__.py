"""The fleet: where its sites are and how they are, for the map, the table and the search; what the plant does for whom."""
