"""Helpers of the tests: models, rows and results, made up or computed by hand."""
