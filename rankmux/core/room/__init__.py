"""The room: ranks, turns and what each turn owes whom."""
