"""Which packages the wheel holds. All else stands in pyproject.toml, which cannot say this without a list by hand.

In a checkout `analysis/` and `configs/` stand beside `vsweep/`. In a wheel they are inside it, so that they are nobody
else's `analysis` and `configs`.
"""

from setuptools import find_packages, setup

INSIDE = {"vsweep.analysis": "analysis", "vsweep.configs": "configs"}

packages = ["vsweep", *(f"vsweep.{name}" for name in find_packages("vsweep"))]
for package, folder in INSIDE.items():
    packages += [package, *(f"{package}.{name}" for name in find_packages(folder))]

setup(packages=packages, package_dir=INSIDE)
