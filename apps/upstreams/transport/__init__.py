"""How calls reach upstreams: `protocol.py` is the seam, `http.py` the way to real ones, `switch.py` chooses by URL."""
