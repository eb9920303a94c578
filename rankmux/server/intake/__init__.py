"""Intake: accepting, greeting and reading."""
