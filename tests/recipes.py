"""The README's code, to be run as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def recipe(heading):
    """The Python code of a section of the README."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
