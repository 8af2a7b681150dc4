"""Pictures: shards, folders, few-shot sets, the shipped ones."""
