"""Results in the forms that other tools read."""

from chg.export.mib import mib_importances, save_mib

__all__ = ["mib_importances", "save_mib"]
