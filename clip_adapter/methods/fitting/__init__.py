"""What computes behind the methods, imported when something is fitted: it takes torch."""
