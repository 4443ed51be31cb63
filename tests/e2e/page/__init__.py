"""Stories of people at the page, told in a real browser against a running plant."""
