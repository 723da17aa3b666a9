"""Question marks for values, as SQLite has them, turned into PostgreSQL's $1, $2, …; of SQL it knows only quotes."""

import re

from tinyablate.errors import UsageError

_PIECES = re.compile(
    r"""
      [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)     # a text with backslashes
    | '(?:[^']|'')*(?:'|\Z)               # a text
    | "(?:[^"]|"")*(?:"|\Z)               # a name
    | \$(?P<tag>[A-Za-z_]\w*)?\$.*?(?:\$(?(tag)(?P=tag))\$|\Z)   # a text between dollars
    | --[^\n]*                            # a comment
    | [^\W\d][\w$]*                       # a word, whole: what follows it within is no quote
    | (?P<comment>/\*)
    | (?P<mark>\?)
    """,
    re.VERBOSE | re.DOTALL,
)
"""What a question mark may stand in without being one (PostgreSQL 18, documentation 4.1), and the mark itself."""

_EDGES = re.compile(r"/\*|\*/")


def numbered(sql: str, values: int) -> str:
    """`sql` with $1 for the first question mark outside texts, names and comments, and so on.

    Without values it stays as it is, for `?` is an operator too. Raises UsageError where there are more or fewer.
    """
    if not values:
        return sql
    parts, marks, at = list[str](), 0, 0
    while piece := _PIECES.search(sql, at):
        parts.append(sql[at : piece.start()])
        at = _end_of_comment(sql, piece.end()) if piece["comment"] else piece.end()
        if piece["mark"]:
            marks += 1
        parts.append(f"${marks}" if piece["mark"] else sql[piece.start() : at])
    if marks != values:
        raise UsageError(f"query: has {marks} question marks, and {values} values are given for them")
    return "".join([*parts, sql[at:]])


def _end_of_comment(sql: str, at: int) -> int:
    """Where the comment ends that begins before `at`; such comments nest in PostgreSQL."""
    depth = 1
    while depth and (edge := _EDGES.search(sql, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if not depth else len(sql)
