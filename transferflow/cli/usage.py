"""What to say to somebody who spoke as another tool wants it: hints for words that no command takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from transferflow.spec.messages.homes import key_of_habit
from transferflow.spec.yaml.tree import path_text

COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "fit", "start", "finetune"), "run SPEC"),
    **dict.fromkeys(("eval", "evaluate", "test", "val", "register"), "run SPEC"),
    **dict.fromkeys(("infer", "inference", "detect", "classify", "segment"), "predict MODEL IMAGE…"),
    **dict.fromkeys(("check", "lint"), "validate SPEC"),
    **dict.fromkeys(("dry-run", "show", "info", "summary"), "plan SPEC"),
    **dict.fromkeys(("models", "list", "ls"), "backbones list"),
    **dict.fromkeys(("download", "fetch"), "weights fetch SPEC"),
    "help": "--help",
    "version": "--version",
}
"""Word of another tool, and the command here that does it."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.\"']*=.+")


def usage_hint(words: Sequence[str], options: frozenset[str], commands: frozenset[str]) -> str:
    """What was probably meant; empty where nothing is known.

    Args:
        words: What stands behind the program's name.
        options: Every option that some command has.
        commands: The commands and groups.
    """
    first = next((word for word in words if not word.startswith("-")), "")
    if first and first not in commands:
        meant = COMMANDS.get(first.lower())
        return f"`transferflow {meant}` does that" if meant else ""
    for word, following in pairwise(words):
        if word == "--set" and "=" not in following:
            return f"a value follows after `=`: --set {following}=VALUE"
    for number, word in enumerate(words):
        name, _, value = word.partition("=")
        if word.startswith("--") and name not in options:
            follows = words[number + 1] if number + 1 < len(words) else "VALUE"
            return _setting(name, value or ("VALUE" if follows.startswith("-") else follows))
        if _ASSIGNMENT.fullmatch(word) and number and words[number - 1] != "--set":
            return f"a value of the spec is replaced by --set {word}"
    return ""


def _setting(option: str, value: str) -> str:
    """`--set training.epochs=3` for `--epochs 3`."""
    path = key_of_habit(option.lstrip("-").replace("-", "_"))
    return f"settings stand in the spec; for one run: --set {path_text(path)}={value}" if path else ""
