"""Running it: checks before start, the services, the demo."""
