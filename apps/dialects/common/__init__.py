"""What the dialects share: JSON bodies, refused fields, priced items, server-sent events, usage, messages of errors."""
