"""Random legal Programs: what they are checked with, what they cover, and how one is made small."""
