"""What ships with the package: word and random-token tasks, and a model trained on them."""
