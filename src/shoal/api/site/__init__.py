"""One site: its flow, past, device, orders, events."""
