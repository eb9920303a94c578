"""The room: ranks, turns, and the frames that a turn owes each member."""
