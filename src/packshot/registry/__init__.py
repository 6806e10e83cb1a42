"""MLflow runs and models, promotion gates, the ledger, aliases, rollback."""
