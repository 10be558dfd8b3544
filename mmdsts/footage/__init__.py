"""One's own footage: from a folder of videos to lists, a config and a checked data set."""
