"""Would the tests notice? Small changes of the code, drawn by a seed, and whether a test fails on each.

    python benchmarks/mutants.py mutants.json --draw 100 --seed 0
    python benchmarks/mutants.py mutants.json --seconds 380     # again and again, until none is left
    python benchmarks/mutants.py mutants.json --again           # the survivors once more, after mending tests

One mutant per module in turn, so that they are spread. Each runs in a copy of the tree against the tests
nearest to its module: the file that mirrors it, those that import it, those that mirror what imports it, the
folder that mirrors its own, then those that import what imports it. A kill counts only if the test that
failed passes on the code as it is.
Whole-suite tools (mutmut, cosmic-ray) would run every test for every mutant: hours, here.

Prints what survived as a diff, and last the share that was killed. Needs no network; one process.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("transferflow", "pipelines")
HEAVY = ("torch", "torchvision", "timm", "albumentations", "mlflow", "pyarrow.parquet", "matplotlib.pyplot",
         "sklearn.metrics", "scipy.stats", "pydantic", "typer.testing", "pytest")  # fmt: skip
"""Loaded once; each mutant is tested in a fork, which loads our own code anew."""
MUTANT_SECONDS = 150
"""For all groups of tests of one mutant; a mutant that none of them noticed by then has survived."""
IMPORTS = (("from ", " import"), ("import ", "\n"), ('"', '"'), ('"', "."))
"""How a module is named where it is used: imports, and names of what a test puts in its place."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


@dataclass
class Mutant:
    """One change.

    Attributes:
        file: Path below the root.
        line: First line of what is changed, from 1.
        before: The whole lines that are changed.
        after: What stands there instead.
        outcome: `killed`, `survived`, `gone` (the code is another now), or empty.
        by: The test that failed.
    """

    file: str
    line: int
    before: str
    after: str
    outcome: str = ""
    by: str = ""


def changed_nodes(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each small change of one node: the expression that goes, and the one that comes."""
    match node:
        case ast.Compare(left=left, ops=[*ops, last], comparators=comparators) if type(last) in SWAPS:
            yield node, ast.Compare(left, [*ops, SWAPS[type(last)]()], comparators)
        case ast.BoolOp(op=op, values=values):
            yield node, ast.BoolOp(SWAPS[type(op)](), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPS and not _is_text(left, right):
            yield node, ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            yield node, ast.Constant(value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield value, ast.Constant(None)


def _is_text(*sides: ast.expr) -> bool:
    """Whether a `+` joins texts, or a `/` makes a path: a change of those is a type error, of no use here."""
    parts = [part for side in sides for part in ast.walk(side)]
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts) or any(
        isinstance(side, ast.Name) and side.id.isupper() for side in sides
    )


def code_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run: no annotations, no imports for the type checker, nothing that never ends well."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            yield node
            yield from code_of(node)


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every small change of a module."""
    lines = source.splitlines(keepends=True)
    encoded = [line.encode() for line in lines]
    found = []
    for node in code_of(ast.parse(source)):
        if not isinstance(node, ast.expr | ast.stmt):
            continue
        for old, new in changed_nodes(node):
            first, last = old.lineno - 1, (old.end_lineno or old.lineno) - 1
            head = encoded[first][: old.col_offset].decode()
            tail = encoded[last][old.end_col_offset :].decode()
            before = "".join(lines[first : last + 1])
            after = f"{head}({ast.unparse(ast.fix_missing_locations(new))}){tail}"
            found.append(Mutant(file, first + 1, before, after))
    return found


def draw(count: int, seed: int, root: Path = ROOT) -> list[Mutant]:
    """Draw mutants, one of each module in turn, in an order of the modules that is drawn too."""
    chance = random.Random(seed)
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    pools = [mutants_of(str(file.relative_to(root)), file.read_text()) for file in files]
    pools = [pool for pool in pools if pool]
    chance.shuffle(pools)
    for pool in pools:
        chance.shuffle(pool)
    found: list[Mutant] = []
    while pools and len(found) < count:
        found += [pool.pop() for pool in pools][: count - len(found)]
        pools = [pool for pool in pools if pool]
    return found


def place(mutant: Mutant, source: str) -> str | None:
    """The source with the mutant in it; `None` where its lines are no more."""
    starts = [n for n in range(len(source)) if source.startswith(mutant.before, n)] if mutant.before else []
    starts = [n for n in starts if n == 0 or source[n - 1] == "\n"]
    if not starts:
        return None
    start = min(starts, key=lambda n: abs(source.count("\n", 0, n) + 1 - mutant.line))
    return source[:start] + mutant.after + source[start + len(mutant.before) :]


def tests_for(file: str, root: Path) -> list[list[str]]:
    """Groups of test files, the nearest first; a group runs only where those before it passed."""
    tests = sorted((root / "tests").rglob("test_*.py"))
    code = [module for package in PACKAGES for module in sorted((root / package).rglob("*.py"))]
    near = [str(user.relative_to(root)) for user in importers(file, code)]
    users = [module for user in near for module in importers(user, tests)]
    folder = mirror_of(file, root).parent
    while not any(folder.glob("test_*.py")):
        folder = folder.parent
    groups, seen = [], set()
    mirrors = [mirror for name in (file, *near) if (mirror := mirror_of(name, root)).exists()]
    beside = sorted(folder.glob("test_*.py"))
    for group in (mirrors[:1], importers(file, tests), mirrors, beside, sorted(users)):
        new = [str(test.relative_to(root)) for test in group if test not in seen]
        seen.update(group)
        if new:
            groups.append(new)
    return groups


def mirror_of(file: str, root: Path) -> Path:
    """The test file that mirrors a module; it need not be there."""
    path = Path(file)
    inner = Path(*path.parts[1:]) if path.parts[0] == "transferflow" else path
    return root / "tests" / inner.parent / f"test_{inner.name}"


def importers(file: str, among: list[Path]) -> list[Path]:
    """Which of the files import a module."""
    module = ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
    said = [f"{word}{name}{end}" for name in (module, f"transferflow.{module}") for word, end in IMPORTS]
    return [test for test in among if any(text in test.read_text() for text in said)]


def run_tests(tests: list[str], root: Path, seconds: float) -> tuple[str, str]:
    """`passed`, `failed` or `timeout`, and the test that failed; in a fork."""
    log = root / ".mutant.log"
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(root)
        sys.path.insert(0, str(root))
        stream = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-rfE", "-p", "no:cacheprovider", "--no-header", *tests])))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout", ""
    if os.waitstatus_to_exitcode(status) in (0, 5):
        return "passed", ""
    lines = log.read_text(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    named = [line.split(" ", 1)[1].split(" - ")[0] for line in failed]  # a parameter may have blanks
    return "failed", named[0] if named else ""


def end_leftovers(root: Path) -> None:
    """End the processes that a test of a mutant left behind, which work in the copy: some would never end."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            if process.name != str(os.getpid()) and (process / "cwd").readlink().is_relative_to(root):
                os.kill(int(process.name), signal.SIGKILL)


def judge(mutant: Mutant, root: Path) -> None:
    """Run the tests on one mutant, and write down what came of it."""
    deadline = time.monotonic() + MUTANT_SECONDS
    file = root / mutant.file
    source = file.read_text()
    changed = place(mutant, source)
    if changed is None:
        mutant.outcome = "gone"
        return
    mutant.outcome, mutant.by = "survived", ""
    broken: list[str] = []
    for group in tests_for(mutant.file, root):
        while (seconds := deadline - time.monotonic()) > 0:
            file.write_text(changed)
            result, name = run_tests([*group, *(f"--deselect={test}" for test in broken)], root, seconds)
            file.write_text(source)
            if result == "passed":
                break
            # Killed, if it fails for the mutant alone: the same tests pass, and in the same time.
            if run_tests([name] if name else group, root, seconds)[0] == "passed":
                mutant.outcome, mutant.by = "killed", name or result
                return
            if not name or name in broken:
                break
            broken.append(name)
            print(f"fails on the code as it is: {name}", file=sys.stderr)


def copy_tree(folder: Path) -> Path:
    """The files of the working tree that git knows, and our flows where the tests look for them."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "transferflow" / "pipelines").symlink_to(folder / "pipelines")
    return folder


def describe(mutant: Mutant) -> str:
    lines = difflib.unified_diff(mutant.before.splitlines(), mutant.after.splitlines(), lineterm="", n=0)
    return "\n".join([f"{mutant.file}:{mutant.line}", *list(lines)[3:]])


def save(state: Path, mutants: list[Mutant]) -> None:
    beside = state.with_suffix(".new")
    beside.write_text(json.dumps([asdict(mutant) for mutant in mutants], indent=1))
    beside.replace(state)


def report(mutants: list[Mutant]) -> None:
    done = [mutant for mutant in mutants if mutant.outcome not in ("", "gone")]
    for mutant in done:
        if mutant.outcome == "survived":
            print(describe(mutant), end="\n\n")
    killed = sum(mutant.outcome != "survived" for mutant in done)
    gone = sum(mutant.outcome == "gone" for mutant in mutants)
    left = len(mutants) - len(done) - gone
    print(f"{killed} of {len(done)} killed; {left} to run; {gone} are in code that has changed since")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("state", type=Path, help="JSON file: what was drawn, and what came of it")
    parser.add_argument("--draw", type=int, metavar="N", help="draw N mutants anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="run the survivors once more")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no mutant after so long")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.draw:
        save(arguments.state, draw(arguments.draw, arguments.seed))
    mutants = [Mutant(**fields) for fields in json.loads(arguments.state.read_text())]
    if arguments.again:
        for mutant in mutants:
            mutant.outcome = "" if mutant.outcome == "survived" else mutant.outcome
    sys.dont_write_bytecode = True
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        root = copy_tree(Path(folder).resolve())
        os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        for mutant in mutants:
            if mutant.outcome or time.monotonic() - started > arguments.seconds:
                continue
            judge(mutant, root)
            end_leftovers(root)
            save(arguments.state, mutants)
            print(f"{mutant.outcome}: {mutant.file}:{mutant.line} {mutant.by}", file=sys.stderr, flush=True)
    report(mutants)


if __name__ == "__main__":
    main()
