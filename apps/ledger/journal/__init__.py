"""The settlement journal: `file.py` is the format, `journal.py` what a process does with it."""
