"""Threads: which of them join a launch, and how they share its work."""
