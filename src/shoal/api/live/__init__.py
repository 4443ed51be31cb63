"""What is live: the hub between the fabric and every open page, its topics, its state, and feeds of single screens."""
