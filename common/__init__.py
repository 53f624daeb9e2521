"""What two or more services share, and nothing else."""
