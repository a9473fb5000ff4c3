"""The dialects that the simulator speaks, one file each: how a request is read and how an answer is shown."""
