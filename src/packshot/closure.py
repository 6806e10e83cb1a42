"""What code a result depends on: the import closure of an entry point, as files and as one hash.

Read from the sources without running them, so that asking costs no import and a worker needs no tool for it. Whatever
an entry imports counts, inside functions too, and what those import in turn; only what stands under `TYPE_CHECKING`
does not, since it never runs.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packshot.errors import PackshotError

PACKAGE = Path(__file__).resolve().parent
NO_DATA = ("py.typed", "params.yaml", "starter.zip")
"""Settings have a hash of their own, and so have models."""
_SCRIPT = re.compile(rb"[\"'](\w+(?:/\w+)*)\.py[\"']")
_ALL_OF_IT = re.compile(rb"\b__path__\b")
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


class NoSuchEntry(PackshotError):
    """An entry point is no module of the package, or a module cannot be parsed."""


def code_files(*entries: str, package: Path = PACKAGE) -> tuple[str, ...]:
    """The files that the modules `entries` (`packshot.training.run`) need of the package, themselves among them.

    Sorted POSIX paths that begin with the package's name. A package on the way counts by its `__init__`; one that looks
    through its own `__path__`, with all modules in it; a script that a module names, too. A file that is no module
    counts where a module of the closure names it, and where none in its package does: it may be read by a pattern.
    Raises NoSuchEntry.
    """
    tree = _tree(package) if package == PACKAGE else _Tree(package)
    return tree.closure(entries)


def code_digest(*entries: str, package: Path = PACKAGE) -> str:
    """sha256 hex over names and contents of `code_files`. Of our own package it is read once a process."""
    return _own_digest(entries) if package == PACKAGE else _digest(entries, package)


@functools.cache
def _own_digest(entries: tuple[str, ...]) -> str:
    return _digest(entries, PACKAGE)


@functools.cache
def _tree(package: Path) -> _Tree:
    return _Tree(package)


def _digest(entries: tuple[str, ...], package: Path) -> str:
    found = hashlib.sha256()
    for name in code_files(*entries, package=package):
        content = (package.parent / name).read_bytes()
        found.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return found.hexdigest()


@dataclass(frozen=True)
class _Tree:
    """The files of a package, by module where they are one."""

    package: Path

    @cached_property
    def files(self) -> tuple[Path, ...]:
        found = (path for path in self.package.rglob("*") if path.is_file())
        return tuple(sorted(path for path in found if not _is_left_out(path.relative_to(self.package))))

    @cached_property
    def modules(self) -> Mapping[str, Path]:
        return {self._module(path): path for path in self.files if path.suffix == ".py"}

    @cached_property
    def data(self) -> tuple[Path, ...]:
        return tuple(path for path in self.files if path.suffix != ".py" and path.name not in NO_DATA)

    @cached_property
    def sources(self) -> Mapping[str, bytes]:
        return {module: path.read_bytes() for module, path in self.modules.items()}

    @cached_property
    def _known(self) -> dict[str, frozenset[str]]:
        return {}

    def closure(self, entries: Sequence[str]) -> tuple[str, ...]:
        waiting, found = list(entries), set[str]()
        for entry in entries:
            if entry not in self.modules:
                raise NoSuchEntry(f"{entry} is no module below {self.package}")
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += self.needs(module)
        files = [self.modules[module] for module in found] + [path for path in self.data if self._counts(path, found)]
        return tuple(sorted(path.relative_to(self.package.parent).as_posix() for path in files))

    def needs(self, module: str) -> frozenset[str]:
        """Modules of the package that this one needs at once."""
        if module not in self._known:
            source, path = self.sources[module], self.modules[module]
            names = {*_parents(module), *self._imported(module), *self._named(source)}
            for script in _SCRIPT.findall(source):
                names.add(self._module(path.parent / f"{script.decode()}.py"))
            if path.name == "__init__.py" and _ALL_OF_IT.search(source):
                names |= {name for name in self.modules if _parents(name)[:1] == [module]}
            self._known[module] = frozenset(names & self.modules.keys())
        return self._known[module]

    def _named(self, source: bytes) -> Iterator[str]:
        """Modules that a text names, as for `python -m` or `importlib`."""
        for name in re.findall(rb"[\"'](%s\.[\w.]+)[\"']" % self.package.name.encode(), source):
            yield name.decode()

    def _imported(self, module: str) -> Iterator[str]:
        path = self.modules[module]
        try:
            imports = _imports(self.sources[module])
        except (SyntaxError, ValueError) as error:
            raise NoSuchEntry(f"{path} cannot be parsed: {error}") from error
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for statement in imports:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    yield from (alias.name, *_parents(alias.name))
            else:
                origin = _origin(statement, package)
                yield from (origin, *_parents(origin))
                yield from (f"{origin}.{alias.name}" for alias in statement.names)

    def _counts(self, data: Path, found: set[str]) -> bool:
        """Whether a file that is no module belongs to a closure."""
        owner = next(folder for folder in data.parents if (folder / "__init__.py").is_file() or folder == self.package)
        if self._module(owner / "__init__.py") not in found:
            return False
        name = data.name.encode()
        naming = {m for m, path in self.modules.items() if path.is_relative_to(owner) and name in self.sources[m]}
        return not naming or bool(naming & found)

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self.package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_left_out(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def _parents(module: str) -> list[str]:
    """The packages that it is in, the nearest first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _origin(statement: ast.ImportFrom, package: str) -> str:
    """The module, in full, that names are imported from in a module of `package`."""
    if not statement.level:
        return statement.module or ""
    base = [package, *_parents(package)][statement.level - 1 : statement.level]
    return ".".join([*base, *([statement.module] if statement.module else [])])


@functools.lru_cache(maxsize=1024)
def _imports(source: bytes) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The imports of a module that can run. Parsing takes the time, so what was parsed is kept."""
    found = _statements(ast.parse(source).body)
    return tuple(statement for statement in found if isinstance(statement, ast.Import | ast.ImportFrom))


def _statements(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every statement that can run, however deep."""
    for statement in body:
        yield statement
        for name in _BODIES:
            if name != "body" or not _only_for_types(statement):
                yield from _statements(getattr(statement, name, None) or ())


def _only_for_types(statement: ast.AST) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
