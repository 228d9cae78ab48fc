"""Servers measured without a job: a rate for any endpoint, and certificates verified again."""
