"""Orders: looked at before they are launched, approved, launched, watched while they run."""
