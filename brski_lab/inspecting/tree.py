"""An inspection as a tree for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from brski.edge.cli import printable
from brski_lab.inspecting.description import Description, Fact, Finding
from brski_lab.inspecting.inspection import Inspection


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print every artifact, its facts first, then what is odd about it."""
    if inspection.layers:
        console.print(Text(f"in {', in '.join(inspection.layers)}", style="dim"))
    for finding in inspection.findings:
        console.print(_finding(finding))
    for artifact in inspection.artifacts:
        console.print(_tree(artifact))


def _tree(description: Description) -> Tree:
    tree = Tree(Text(description.kind, style="bold"))
    for name, fact in description.facts.items():
        _grow(tree, name, fact)
    if description.stop is not None:
        stop = description.stop
        tree.add(Text(printable(f"stops at octet {stop.offset}: {stop.reason}"), style="red"))
    if description.findings:
        odd = tree.add(Text(f"odd ({len(description.findings)})", style="bold yellow"))
        for finding in description.findings:
            odd.add(_finding(finding))
    return tree


def _grow(tree: Tree, name: str, fact: Fact) -> None:
    if isinstance(fact, dict):
        branch = tree.add(Text(printable(name), style="cyan"))
        for inner, value in fact.items():
            _grow(branch, inner, value)
    elif isinstance(fact, list) and any(isinstance(each, dict | list) for each in fact):
        for number, value in enumerate(fact, 1):
            _grow(tree, f"{name.removesuffix('s')} {number}", value)
    else:
        label = Text(printable(name), style="cyan")
        tree.add(label.append(f": {printable(_text(fact))}", style="default"))


def _text(fact: Fact) -> str:
    match fact:
        case None:
            return "none"
        case bool():
            return "yes" if fact else "no"
        case list():
            return ", ".join(map(str, fact)) or "none"
    return str(fact)


def _finding(finding: Finding) -> Text:
    place = f"{finding.place}: " if finding.place else ""
    text = Text(printable(f"{place}{finding.text}"), style="yellow")
    return text.append(f" ({finding.section})", style="dim") if finding.section else text
