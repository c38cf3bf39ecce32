"""The code of documents, to be run as it stands there."""

import re


def recipe(document, heading):
    """The Python code of one section of a document in Markdown, such as a module's docstring."""
    section = document.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
