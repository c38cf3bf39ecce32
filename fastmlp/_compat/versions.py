"""The versions of other libraries that fastmlp has been tried with."""

import re
from importlib import metadata

from fastmlp.version import __version__

REQUIREMENTS = (  # as in pyproject.toml, which packages in zip files do not have
    "numpy>=2.0,<3",
    "numba>=0.61,<0.69",
    "llvmlite>=0.44,<0.51",
    "scikit-learn>=1.7,<1.10",
    "scipy>=1.13,<2",
    "joblib>=1.3,<2",
)


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def check_versions(cause: Exception) -> None:
    """Raise an ImportError that names the unsupported versions to which an error may be due.

    Versions that are merely untried raise nothing: this is for when an import has failed.
    """
    told = []
    for requirement in REQUIREMENTS:
        name, oldest, untried = re.split(">=|,<", requirement)
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:  # not installed, or in a frozen application
            continue
        if not _release(oldest) <= _release(found) < _release(untried):
            told.append(f"{requirement}, but found {found}")
    if told:
        message = f"fastmlp {__version__} needs {'; '.join(told)} ({cause})"
        raise ImportError(message) from cause
