"""The market: products and gates, prices, bids and their stories, plans, and what a trader has a say in."""
