"""What depends on the versions of other libraries: the supported ones, and names not public."""
