"""The campaign against damaged files and machines that fail: `make fuzz`."""
