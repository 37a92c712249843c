"""What the report's page is made of: its template, its interactive charts, and the script that moves them."""
