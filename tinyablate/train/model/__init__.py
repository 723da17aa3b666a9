"""timm models made reproducible: construction, initial weights, stochastic depth, facts. The package is import-free."""
