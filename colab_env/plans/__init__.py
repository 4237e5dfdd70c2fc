"""What a machine has already, what a lock file brings, and what is kept."""
