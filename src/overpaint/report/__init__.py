"""The report: what a study's tables say, as pages that load nothing.

`view` reads the tables, `sections` holds what pages show, one file a section; `templates` the markup.
"""

PAGES = ("finding", "activations", "map", "depth", "completions", "provenance")  # reports/*.ipynb, as pages link them
