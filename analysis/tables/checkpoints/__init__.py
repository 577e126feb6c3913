"""Logs of training: tables with several rows of one run."""
