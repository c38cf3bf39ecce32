"""Threads: who takes part in a launch, and how its work is shared."""
