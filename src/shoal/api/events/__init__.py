"""Events called ahead and the weather alerts that may call them."""
