"""The product as it is installed here, file by file: to be copied into a guest whose Python is another one."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from librespot_guard.lab._install import Unavailable

# what [project] dependencies of pyproject.toml says; extras are left out
CORE = ("click", "PyYAML", "rich")


def product() -> dict[str, Path]:
    """Name in a folder of Python packages -> file here: our package and all it needs, sources only. Raises Unavailable."""
    package = Path(__file__).resolve().parents[1]
    found = {
        str(path.relative_to(package.parent)): path
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    waiting = list(CORE)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            known = distribution(name)
        except PackageNotFoundError:
            raise Unavailable(f"the Python package {name} is not installed here") from None
        for file in known.files or ():
            # compiled modules are of another Python; each of these packages works without
            if file.suffix not in (".pyc", ".so") and ".." not in file.parts:
                found[str(file)] = Path(str(file.locate()))
        waiting += [
            m[0] for line in known.requires or () if "extra ==" not in line and (m := re.match(r"[\w.-]+", line))
        ]
    return found
