"""tinyablate turns one TOML file into a paper's ablation table."""

__version__ = "0.1.0"
