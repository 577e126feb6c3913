"""The bundled configs: `vsweep train addition:laptop` means the file addition.py here."""
