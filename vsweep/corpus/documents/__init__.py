"""Where documents come from: files, and data sets of the Hugging Face hub."""
