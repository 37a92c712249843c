"""The report's page: templates, style, interactive charts and their script."""
