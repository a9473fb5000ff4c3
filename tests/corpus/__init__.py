"""Recorded exchanges of real providers, kept outside of this project: read where they are, never copied."""
