"""What the neurons specialized in: counts, figures and report."""
