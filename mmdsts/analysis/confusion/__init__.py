"""Which classes a recognizer takes for which others, from the predictions that a test dumps."""
