"""OpenAI Images (generations)."""
