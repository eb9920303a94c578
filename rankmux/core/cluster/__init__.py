"""A room that several servers share: the entries of its log, and what each server makes of them."""
