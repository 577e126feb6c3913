"""Results as files: report.html and fits.json."""
