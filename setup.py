"""Reads settings.ini, the one place for the package's metadata and requirements."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def lines(key): return [line for line in cfg[key].splitlines() if line.strip()]


EXTRAS = [key.removesuffix("_requirements") for key in cfg if key.endswith("_requirements")]

setup(
    name=cfg["name"], version=cfg["version"], description=cfg["description"], author=cfg["author"],
    license_expression=cfg["license"], keywords=cfg["keywords"], python_requires=f">={cfg['min_python']}",
    long_description=Path("README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    install_requires=lines("requirements"),
    extras_require={extra: lines(f"{extra}_requirements") for extra in EXTRAS},
    entry_points={"console_scripts": lines("console_scripts")},
    # The tutorials live beside the other notebooks; installed, they are hear_nb.tutorials.
    packages=find_packages(include=["hear_nb", "hear_nb.*"]) + ["hear_nb.tutorials"],
    package_dir={"hear_nb.tutorials": "nbs/tutorials"},
    package_data={
        "hear_nb": ["bundled/**", "weights/**", "viz/*.js", "viz/*.css", "viz/*.html", "py.typed"],
        "hear_nb.tutorials": ["*.ipynb"],
    },
    include_package_data=False, zip_safe=False,
)
