"""`python -m vsweep.config.document > docs/config.md`: the table of fields, for people."""

from vsweep.config import registry
from vsweep.config.design import page
from vsweep.config.design.options import DESIGN_FIELDS
from vsweep.config.field import FIXED, OPTIONAL, RESUMABLE, SPLITTING, STACKED, STATIC, Field
from vsweep.config.fields import DEFAULT_NAMES, FIELDS, SECTIONS, of_section, short_of
from vsweep.config.more_options import MORE_OPTIONS

KINDS = {
    STATIC: "swept; each value is a stack of its own",
    STACKED: "swept inside a stack",
    OPTIONAL: "one value, or swept inside a stack; a column of runs.csv only where it is swept",
    SPLITTING: "one value, or swept; then each value is a stack of its own, and it is a column of runs.csv",
    RESUMABLE: "one value; may change when a sweep is resumed",
    FIXED: "one value",
}
INTRODUCTION = """\
# Fields of a config

This page is generated from the table in `vsweep/config/fields.py`:
`python -m vsweep.config.document > docs/config.md`.

A config file returns a `ConfigDict` that starts from `vsweep.config.default_dict()`. A field is set in the file, or on
the command line: `--config.model.layers=2`. The sections below list every field. A field that may be swept can also
stand in the section `sweep`, with several values: `--config.sweep.width=4,8,16`. The runs are the product of all swept
fields, unless [the design](#sweep-the-design-of-the-runs) says otherwise.

| kind | meaning |
| --- | --- |
"""
COLUMNS = ("field", "default", "allowed", "unit", "kind", "in run ids", "meaning")


def markdown() -> str:
    """The whole of docs/config.md."""
    kinds = "".join(f"| {kind} | {meaning} |\n" for kind, meaning in KINDS.items())
    name = "\n`name` names the sweep, and its work directory is `runs/<name>` by default. Its default is `sweep`.\n"
    return INTRODUCTION + kinds + name + "".join(map(_section, SECTIONS)) + page.markdown()


def help_text() -> str:
    """The fields in the form of `--help`: one line each, with its default, and `*` where it may be swept."""
    width = max(len(field.path) for field in FIELDS)
    lines = [
        f"  {'*' if field.swept else ' '} {field.path:<{width}}  {field.default!s:<9}  {field.meaning}"
        for section in SECTIONS
        for field in of_section(section).values()
    ]
    heading = "fields of a config, their defaults, and * where --config.sweep.FIELD=VALUE,VALUE may vary them:"
    design = [f"    {field.path:<{width}}  {_plain(field.default):<9}  {field.meaning}" for field in DESIGN_FIELDS]
    return "\n".join([heading, *lines, "the design of the runs (docs/config.md has an example of each):", *design])


def _plain(default: object) -> str:
    return str(default) if default not in ((), "") else "-"


def _section(section: str) -> str:
    tables = [f"\n## {section}: {SECTIONS[section]}\n\n{_table(list(of_section(section).values()))}"]
    for name in _names_with_options(section):
        options = [field for field in registry.known_fields(section, name).values() if field.of]
        tables.append(f"\n### {section}.name = {name!r}\n\n{_table(options)}")
    return "".join(tables)


def _names_with_options(section: str) -> list[str]:
    """Of the built-in ones, the default one left out: its options stand among the fields of the section."""
    named = dict.fromkeys(name for field in (*FIELDS, *MORE_OPTIONS) if field.section == section for name in field.of)
    more = registry.BUILT_IN_TASKS if section == "task" else ()
    return [*(name for name in named if name != DEFAULT_NAMES[section]), *more]


def _table(rows: list[Field]) -> str:
    rule = " | ".join(["---"] * len(COLUMNS))
    return f"| {' | '.join(COLUMNS)} |\n| {rule} |\n" + "".join(f"| {' | '.join(_row(row))} |\n" for row in rows)


def _row(field: Field) -> tuple[str, ...]:
    in_run_ids = f"`{short_of(field)}{field.default}`" if field.swept else ""
    default = f"`{field.default}`"
    return (f"`{field.name}`", default, field.values.allowed, field.unit, field.kind, in_run_ids, field.meaning)


if __name__ == "__main__":
    print(markdown(), end="")
