"""What a training step descends, and what is measured of it: for one run, lifted by a stack."""
