"""What asv runs over the commits of the repository."""
