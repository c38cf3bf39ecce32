"""What tests compare the package with: independent answers in NumPy, and in plain Python."""
