"""The commands, by what they are about. What they do stands in the modules that they import inside themselves."""
