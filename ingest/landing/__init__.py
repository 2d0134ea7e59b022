"""How the batch writer's records get into the inbox: `encode` a record, `buffer` it, `files` lands it."""
