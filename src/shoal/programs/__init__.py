"""Programs of flexibility (pure): who takes part, on what promises, and who may use which kilowatt when."""
