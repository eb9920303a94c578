"""The admin endpoint: health, metrics, members and the page."""
