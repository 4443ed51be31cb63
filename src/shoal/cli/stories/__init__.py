"""The stories of `shoal demo --scenario`: what such plants live through, each with checks of its own."""
