"""The hub that all wire protocols meet in: a request, a reply and a stream that belong to no provider."""
