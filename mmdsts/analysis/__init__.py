"""What the neurons specialized in, what each part of a model is good for, and what a model says about a video."""
