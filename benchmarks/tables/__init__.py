"""Scripts that write a table of the documentation from what they observe."""
