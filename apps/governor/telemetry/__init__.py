"""What calls went through, by model and route: counted where they end, added up over processes, shown to people."""
