"""Gemini generateContent: spoken with upstreams only."""
