"""What pages show, a folder for each page and a file for each section; `measured` stands on every page."""
