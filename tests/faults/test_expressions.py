"""C11: an expression somebody typed reaches nothing but the record, and ends within its time, memory and length.

Packages of other authors do not exist yet; nothing is tried for them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tests.faults.processes import environment

pytestmark = pytest.mark.faults

SECONDS = 0.5
MEGABYTES = 16
CHARACTERS = 4000
LIMIT_BYTES = 1024 * 1024 * 1024
PATIENCE = 120

FIELDS = ("number", "total", "placed_at", "customer.name", "lines.amount", "tags", "note")
#: Ways out of a language that is written in Python.
ESCAPES = (
    "__import__('os').system('touch escaped')",
    "().__class__.__bases__[0].__subclasses__()",
    "().__class__.__mro__[1].__subclasses__()[140]",
    "number.__class__.__init__.__globals__",
    "customer.__struct_fields__",
    "customer.__class__",
    "customer.name.__class__",
    "customer.name.format",
    "'{0.__class__}'.format(number)",
    "'%s' % number",
    "f'{number.__class__}'",
    "getattr(customer, '__class__')",
    "vars(customer)",
    "globals()",
    "locals()",
    "open('/etc/passwd')",
    "open('/proc/self/environ').read()",
    "exec('import os')",
    "eval('1')",
    "compile('1', '', 'eval')",
    "breakpoint()",
    "input()",
    "print(number)",
    "type('X', (), {})",
    "super()",
    "constants",
    "constants['__functions__']",
    "circumstances",
    "circumstances.tenant",
    "record",
    "record.number",
    "STEPS",
    "STEPS['first']",
    "ERRORS",
    "values",
    "at",
    "not_computed(number)",
    "as_text(number)",
    "as_local(number, number)",
    "__functions__",
    "__builtins__",
    "__name__",
    "(lambda: number)()",
    "(lambda f: f(f))(lambda f: f(f))",
    "[x for x in number]",
    "{x for x in number}",
    "{x: x for x in number}",
    "(x for x in number)",
    "[x for x in (1,) for y in (1,) for z in (1,)]",
    "(yield number)",
    "(await number)",
    "(x := number)",
    "concat(x := number)",
    "*number",
    "concat(*number)",
    "concat(**number)",
    "concat(parts=number)",
    "concat.__globals__",
    "concat.__code__",
    "concat.__call__(number)",
    "upper.__self__",
    "first.__defaults__",
    "if_.__closure__",
    "number[0]",
    "number[::-1]",
    "number[0:99999999]",
    "lines[0].amount",
    "customer['name']",
    "{}['x']",
    "[1, 2]",
    "(1, 2)",
    "{1: 2}",
    "{1}",
    "None",
    "True",
    "...",
    "b'bytes'",
    "1j",
    "import os",
    "import os; os.system('true')",
    "number; number",
    "number\nnumber",
    "number = 1",
    "del number",
    "raise number",
    "assert number",
    "return number",
    "pass",
    "while 1: pass",
    "for x in number: pass",
    "def f(): pass",
    "class X: pass",
    "with number: pass",
    "try: number",
    "global number",
    "@number",
    "number is number",
    "number in number",
    "number not in number",
    "1 < 2 < 3",
    "~1",
    "+1",
    "1 @ 2",
    "1 // 2",
    "5 % 2",
    "1 << 999999999",
    "1 >> 1",
    "1 & 1",
    "1 | 1",
    "1 ^ 1",
    "'a' \"b\"' {}'.format(number)",
    "#",
    "",
    " ",
    "\t",
    "\0",
    "number\0",
    "\\",
    "'",
    "'''",
    "\ufeffnumber",
    "\u202enumber",
    "number\u200b",
    "\U0001f4a3()",
    "ｎｕｍｂｅｒ.__class__",
    "cuſtomer.__class__",
    "ｇｅｔａｔｔｒ(number, 'x')",
    "__ｉｍｐｏｒｔ__('os')",
    "customer._＿class__",
    "literal:0",
    "lines.taxes.__class__",
    "lines.secret",
    "customer.secret",
    "secret",
    "self",
)
#: What grows, nests or never ends.
GREEDY = (
    "9" * 490,
    "1e308 * 1e308",
    "1e999",
    "-1e999",
    "1e60 * 1e60 * 1e60 * 1e60 * 1e60 * 1e60 * 1e60 * 1e60 * 1e60 * 1e60",
    "2 ** 99999999",
    "10 ** 10 ** 10",
    "pow(10, 99999999)",
    "'a' * 99999999",
    "number * 99999999",
    "'a' + 'a'",
    "round(total, 1e60)",
    "round(total, -1e60)",
    "round(total, 99999999)",
    "round(1e60, 28)",
    "round(total, 'x')",
    "round(total, total)",
    "first(number, 1e60)",
    "first(number, -1)",
    "first(number, 'x')",
    "first(number, number)",
    "add_days(placed_at, 1e60)",
    "add_days(placed_at, -999999999)",
    "add_days(placed_at, 3000000)",
    "add_days(placed_at, 'x')",
    "add_days(placed_at, number)",
    "add_days(add_days(placed_at, 2900000), 2900000)",
    "total / 1e60 / 1e60 / 1e60 / 1e60 / 1e60",
    "total / 0",
    "0 / 0",
    "-" * 120 + "1",
    "-" * 490 + "1",
    "not " * 120 + "1",
    "(" * 100 + "1" + ")" * 100,
    "(" * 240 + "1" + ")" * 240,
    "(" * 240 + "1",
    "[" * 490,
    "{" * 490,
    "'" * 490,
    "upper(" * 60 + "number" + ")" * 60,
    "upper(" * 24 + "number" + ")" * 24,
    "concat(" * 50 + ")" * 50,
    "number if " * 40 + "number" + " else number" * 40,
    "a." * 240 + "a",
    "customer." * 50 + "name",
    "1" + " + 1" * 100,
    "1" + " and 1" * 80,
    "1" + " or 1" * 80,
    "1" + " < 1" * 80,
    "concat(" + ", ".join(["number"] * 60) + ")",
    "concat(" + ", ".join(["note"] * 60) + ")",
    "lower(" * 20 + "'" + "İ" * 250 + "'" + ")" * 20,
    "upper(" * 10 + "'" + "ΐ" * 350 + "'" + ")" * 10,
    "'" + "x" * 498,
    "'" + "\U0001f4a3" * 490 + "'",
    "contains(note, note)",
    "contains(note, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab')",
    "trim(note)",
    "replace(note, '', note)",
    "replace(note, 'a', note)",
    "replace(replace(note, 'a', note), 'a', note)",
    "replace(replace(replace(note, 'a', note), 'a', note), 'a', note)",
    "replace(note, note, note)",
    "replace(note, total, note)",
    "replace(note, number, placed_at)",
    "replace(number, 'a', 1e60)",
)


def growing() -> list[str]:
    """Each step multiplies what the one before made."""
    found = []
    for letters in (8, 16, 40):
        for steps in (2, 4, 8, 12):
            code = f"'{'a' * letters}'"
            for _ in range(steps):
                code = f"replace({code}, 'a', '{'a' * letters}')"
            found.append(code)
    for steps in (2, 3, 4, 5, 6, 7):
        code = "note"
        for _ in range(steps):
            code = f"replace({code}, 'a', {code})"
        found.append(code)
    for steps in (2, 3, 4, 5):
        code = "note"
        for _ in range(steps):
            code = f"concat({code}, {code}, {code})"
        found.append(code)
    for steps in (2, 3, 4, 5):
        code = "1e60"
        for _ in range(steps):
            code = f"({code} * {code})"
        found += [code, f"round({code}, 2)", f"concat({code}, {code})", f"add_days(placed_at, {code})"]
    for name in FIELDS:
        found += [f"{name}.__class__", f"upper({name}) * {name}", f"round({name}, {name})", f"first({name}, {name})"]
    return found


HOSTILE = tuple(dict.fromkeys((*ESCAPES, *GREEDY, *growing())))


def test_hostile_expressions_are_refused_or_end_within_their_limits(tell: Any) -> None:
    """All of them in a process that could not take the machine down with it. It says what became of each."""
    told = run(HOSTILE)
    assert len(HOSTILE) >= 200
    outcomes = Counter(outcome["outcome"] for outcome in told)
    assert set(outcomes) <= {"refused", "held", "value"}, [one for one in told if one["outcome"] == "error"][:3]
    assert len(told) == len(HOSTILE), f"the process ended at {HOSTILE[len(told)]!r}"
    over = [
        one for one in told if one["seconds"] > SECONDS or one["megabytes"] > MEGABYTES or one["length"] > CHARACTERS
    ]
    assert over == []
    allowed = [one["text"] for one in told if one["text"] in ESCAPES and one["outcome"] != "refused"]
    assert allowed == []
    tell(
        "C11",
        "hostile expressions",
        tried=len(HOSTILE),
        events=outcomes["value"] + outcomes["held"],
        malformed=outcomes["refused"],
    )


def test_text_that_multiplies_stays_within_its_length() -> None:
    for told in run(["replace(replace(note, 'a', note), 'a', number)", *growing()[:4]]):
        assert told["length"] <= CHARACTERS
        assert told["megabytes"] <= MEGABYTES


def test_nesting_is_refused_before_it_is_followed() -> None:
    told = run(["-" * 400 + "1", "upper(" * 60 + "number" + ")" * 60])
    assert [one["outcome"] for one in told] == ["refused", "refused"]


def test_attributes_of_the_language_are_no_fields() -> None:
    told = run(["customer.__class__", "number.__class__", "customer.name.__class__"])
    assert [one["outcome"] for one in told] == ["refused"] * 3


def run(texts: Any) -> list[dict[str, Any]]:
    process = subprocess.run(
        [sys.executable, "-m", "tests.faults.evaluating"],
        input=json.dumps(list(texts)),
        env={**environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=_limit,
    )
    assert process.returncode in (0, -signal.SIGKILL, -signal.SIGXCPU), process.stderr[-2000:]
    return [json.loads(line) for line in process.stdout.splitlines()]


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    os.setpgrp()
