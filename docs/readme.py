"""README.md from nbs/index.ipynb: `python docs/readme.py`.

Links there start at nbs/, on the page above it one folder higher."""
import re
from pathlib import Path

from nbconvert import MarkdownExporter

root = Path(__file__).parents[1]
LINK = re.compile(r'(\]\()(?!https?:|#|mailto:)([^)]+)')


def from_root(match):
    "Returns the start of a link as it reads from the repository's root."
    start, path = match.groups()
    return start + (path[3:] if path.startswith('../') else f'nbs/{path}')


def readme():
    "Returns what README.md says."
    text, resources = MarkdownExporter().from_filename(root/'nbs/index.ipynb')
    if resources['outputs']:
        names = sorted(resources['outputs'])
        raise ValueError(f'{names}: README.md has no folder for figures; link a picture instead')
    return LINK.sub(from_root, text)


if __name__ == '__main__': (root/'README.md').write_text(readme(), encoding='utf-8')
