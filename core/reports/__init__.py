"""HTML pages with tables, plots and maps."""
