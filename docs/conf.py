"""The site: `sphinx-build -W -j auto -c docs . build/site` turns the notebooks, as they are, into pages.

Nothing is executed, nothing fetched."""
import json
import os
import re
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from inspect import isclass, isfunction
from pathlib import Path

root = Path(__file__).parents[1]
sys.path.insert(0, str(root))  # the reference is of this checkout, whatever is installed
parser = ConfigParser(delimiters=['='])
parser.read(root/'settings.ini', encoding='utf-8')
settings = parser['DEFAULT']

project, release, author = settings['name'], settings['version'], settings['author']
copyright = f'2026, {author}'
# A fork's own workflow publishes links to the fork.
fork = os.environ.get('GITHUB_REPOSITORY')
repository = settings['repository'] if fork is None else f'https://github.com/{fork}'

# The reading order: tutorials, then the wings from the one that imports nothing to the one that imports all, then
# the doors.
WINGS = ['audio', 'model', 'data', 'training', 'evaluation', 'analysis', 'figures', 'viz', 'commands']

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.viewcode']
root_doc = 'nbs/index'
include_patterns = ['nbs/**', 'docs/reference/*.md', 'CONTRIBUTING.md', 'CHANGELOG.md']
exclude_patterns = ['**/.ipynb_checkpoints', 'nbs/**/_proc']
templates_path = ['_templates']
# MathJax comes with the site, from a package of its files, so that equations show without a network too.
mathjax = Path(find_spec('mathjax').submodule_search_locations[0], 'static/mathjax/es5/tex-svg.js')
html_static_path, mathjax_path = ['_static', str(mathjax)], mathjax.name

nb_execution_mode = 'off'
nb_merge_streams = True
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
autodoc_member_order, autodoc_typehints, add_module_names = 'bysource', 'description', False

html_theme, html_title = 'sphinx_book_theme', project
html_css_files, html_copy_source, html_sourcelink_suffix = ['site.css'], True, ''
html_additional_pages = {'index': 'home.html'}  # the site's address leads to nbs/index
html_theme_options = dict(
    repository_url=repository, repository_branch=settings['branch'], path_to_docs='',
    use_repository_button=True, use_download_button=True, use_fullscreen_button=False,
    launch_buttons=dict(colab_url='https://colab.research.google.com'), show_toc_level=2, home_page_in_toc=True,
    navbar_persistent=[])


def notebooks(folder):
    "Returns the notebooks of a folder of nbs, without their suffix, in the order of their names."
    return [p.relative_to(root/'nbs').with_suffix('').as_posix()
            for p in sorted((root/'nbs'/folder).glob('*.ipynb')) if p.stem != 'index']


def toctree(caption, entries):
    "Returns a list of pages for the sidebar."
    return '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *entries, '```', ''])


def sidebar():
    "Returns the lists of all pages, in reading order."
    parts = {'Tutorials': notebooks('tutorials'), 'Constants, runs': [n for n in notebooks('.') if n < '1']}
    parts |= {wing.capitalize(): notebooks(wing) for wing in WINGS}
    parts |= {'Doors': [n for n in notebooks('.') if n >= '1'], 'How it was made': notebooks('making')}
    pages = [f'../docs/reference/{name}' for name in references()]
    parts |= {'Reference': pages, 'The project': ['../CONTRIBUTING', '../CHANGELOG']}
    return '\n'.join(toctree(caption, entries) for caption, entries in parts.items() if entries)


DIRECTIVE = re.compile(r'^#\|.*\n?', re.MULTILINE)  # nbdev's, such as `#| export`


def read(app, name, content):
    "Takes out of a notebook what speaks to nbdev, not to a reader; the first page gets the sidebar."
    if not app.env.doc2path(name).suffix == '.ipynb': return
    nb = json.loads(content[0])
    nb['cells'] = [cell for cell in nb['cells']
                   if not re.match(r'#\| *(hide|default_exp)\b(?!_)', ''.join(cell['source']))]
    for cell in nb['cells']:
        if cell['cell_type'] == 'code': cell['source'] = DIRECTIVE.sub('', ''.join(cell['source']))
    if name == root_doc: nb['cells'].append(dict(cell_type='markdown', id='sidebar', metadata={}, source=sidebar()))
    content[0] = json.dumps(nb)


def references():
    "Returns the pages of the reference, {name: names of modules}: one for each wing, one for the rest."
    modules = ['.'.join(p.relative_to(root).with_suffix('').parts)
               for p in sorted((root/project).rglob('*.py')) if not p.stem.startswith('_')]
    pages = {wing: [m for m in modules if m.split('.')[1] == wing and m.count('.') == 2] for wing in WINGS}
    pages['top'] = [m for m in modules if m.count('.') == 1]
    return {name: found for name, found in pages.items() if found}


def write_references(app):
    "Writes the reference's pages; they change only if the modules' names do."
    folder = root/'docs/reference'
    folder.mkdir(exist_ok=True)
    for name, modules in references().items():
        title = f'hear_nb.{name}' if name != 'top' else 'hear_nb'
        parts = [f'## {m}\n\n```{{eval-rst}}\n.. automodule:: {m}\n   :members:\n```\n' for m in modules]
        page, text = folder/f'{name}.md', f'# {title}\n\n' + '\n'.join(parts)
        if not page.exists() or page.read_text() != text: page.write_text(text)


def document(app, what, name, obj, options, lines):
    "Adds the comments beside a function's parameters, which is where they are documented."
    if not (isfunction(obj) or isclass(obj)): return
    from fastcore.docments import docments
    try: comments = docments(obj, returns=False)
    except (TypeError, ValueError, OSError): return
    found = {p: c for p, c in comments.items() if c and p != 'self'}
    lines += ['', *[f':param {p}: {c}'.replace('\n', ' ').replace('*', r'\*') for p, c in found.items()]]


def setup(app):
    app.connect('builder-inited', write_references)
    app.connect('source-read', read)
    app.connect('autodoc-process-docstring', document)
