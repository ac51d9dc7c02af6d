"""The course. A package, so that `importlib.resources.files('hear_nb.tutorials')` finds it in a wheel and in a checkout."""
