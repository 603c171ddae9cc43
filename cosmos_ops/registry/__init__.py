"""MLflow lineage, promotion gates and the model registry. Everything here may be repeated after a kill at any point."""
