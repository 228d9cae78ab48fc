"""The only importers of libraries that several rooms need."""
