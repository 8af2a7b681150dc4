"""One file a method: its card, its forwards, its table."""
