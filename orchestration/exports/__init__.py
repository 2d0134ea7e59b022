"""Exports: marts for a period as files that other tools read, all of one moment, with a manifest beside them."""
