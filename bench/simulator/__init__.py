"""The simulator: the real engine and actors on virtual time, and years of trouble in minutes."""
