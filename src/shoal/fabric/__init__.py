"""The fabric: the NATS server, its subjects and identities, and the way in and out of it."""
