"""Views of the archive: figures recomputed from the records, nothing stored."""
