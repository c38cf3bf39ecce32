"""What the engine takes from other libraries beyond their documentation: a module for each."""
