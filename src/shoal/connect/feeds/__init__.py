"""Public feeds of markets and weather: what each gives, how it is fetched, and how its files become facts."""
