"""Raw streams: what the inbox brings in."""
