"""Lineage for people: an indented tree, and a mermaid graph for pages that draw one."""

from typing import Any


def lineage_tree(found: dict[str, Any]) -> str:
    """Any lineage as an indented text; long lists are counted."""
    title, lines = _forward(found) if "adapters" in found else _backward(found)
    # A line that begins with a space belongs to the one above it.
    tops = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    drawn = [title]
    for number, line in enumerate(lines):
        last = number >= tops[-1]
        drawn.append(f"{'   ' if last else '│  '}├─{line}" if line.startswith(" ") else f"{'└─' if last else '├─'} {line}")
    return "\n".join(drawn)


def lineage_mermaid(found: dict[str, Any]) -> str:
    """Any lineage as a mermaid flowchart, from the drops on the left to the adapters and aliases on the right."""
    graph = _Graph()
    if "adapters" in found:
        _forward_graph(found, graph)
    else:
        _backward_graph(found, graph)
    return "\n".join(["flowchart LR", *graph.lines])


def _forward(found: dict[str, Any]) -> tuple[str, list[str]]:
    if "episode" in found:
        title = f"episode {found['episode']}"
        lines = [f"drop {drop}" for drop in found["drops"]]
        used = [f"dataset {version} ({found['splits'][version]})" for version in found["dataset_versions"]]
        forgotten = [f"FORGOTTEN: {found['forgotten']}"] if found["forgotten"] else []
    else:
        title = f"drop {found['drop']} ({found['robot'] or 'unknown robot'}, {found['licence']})"
        lines = [f"source {found['uri']}", f"episodes {_counted(found['episodes'])}"]
        used = [f"dataset {version} ({_splits(found['episodes_by_split'][version])} episodes)" for version in found["dataset_versions"]]
        forgotten = [f"FORGOTTEN {episode}: {reason}" for episode, reason in found["forgotten"].items()]
    lines += [f"{name} {_counted(found[name])}" for name in ("clips", "shards", "latents")]
    lines += used + [f"evaluation set {version}" for version in found["evaluation_sets"]]
    return title, lines + ([_adapter(made) for made in found["adapters"]] or ["no adapter saw it in training"]) + forgotten


def _backward(found: dict[str, Any]) -> tuple[str, list[str]]:
    episodes = ", ".join(f"{len(ids)} {split}" for split, ids in found["episodes"].items())
    aliases = f"({found['alias']}) " if found["alias"] else ""
    title = f"{found['name']} version {found['version']} {aliases}" if found["name"] else "unregistered adapter "
    return f"{title}run {found['run_id']}", [
        f"recipe {found['recipe']} ({found['recipe_hash']}), adapter {found['adapter_key']}",
        f"base {found['base_model']} @ {found['base_revision']} ({found['base_licence']})",
        f"dataset {found['dataset_version']}: {episodes} episodes, captions by {found['captioner']}",
        *[f" drop {drop} ({found['data_licences'][drop]})" for drop in found["drops"]],
        f"evaluation set {found['evaluation_set'] or 'none yet'}",
        *[f" {metric} {_score(entry)}" for metric, entry in (found["scores"] or {}).items()],
        f"gate {found['gate']['verdict'] or 'not decided'}{': ' + found['gate']['reason'] if found['gate']['reason'] else ''}",
        *[f"FORGOTTEN {episode}: {reason}; retrain without it" for episode, reason in found["forgotten"].items()],
        *[f"note: {note}" for note in found["notes"]],
        f"made by Dagster run {found['dagster_run_id']}, code {found['code_version']} at {found['git_commit']}",
    ]


class _Graph:
    """Nodes and arrows of a flowchart; each node is drawn once."""

    def __init__(self):
        self.lines: list[str] = []
        self._known: dict[str, str] = {}

    def node(self, text: str) -> str:
        if text not in self._known:
            self._known[text] = f"n{len(self._known)}"
            self.lines.append(f'  {self._known[text]}["{text.replace(chr(34), "#quot;")}"]')
        return self._known[text]

    def arrow(self, source: str, target: str) -> None:
        self.lines.append(f"  {self.node(source)} --> {self.node(target)}")


def _forward_graph(found: dict[str, Any], graph: _Graph) -> None:
    start = f"episode {found['episode']}" if "episode" in found else f"drop {found['drop']}"
    if "episode" in found:
        for drop in found["drops"]:
            graph.arrow(f"drop {drop}", start)
    graph.arrow(start, f"{len(found['clips'])} clips in {len(found['shards'])} shards")
    for version in found["dataset_versions"]:
        graph.arrow(f"{len(found['clips'])} clips in {len(found['shards'])} shards", f"dataset {version}")
    for made in found["adapters"]:
        graph.arrow(f"dataset {made['dataset_version']}", _short(made))
        for alias in made["aliases"]:
            graph.arrow(_short(made), alias)


def _backward_graph(found: dict[str, Any], graph: _Graph) -> None:
    data = f"dataset {found['dataset_version']}"
    adapter = f"{found['recipe']} {found['adapter_key'][:8]}"
    for drop in found["drops"]:
        graph.arrow(f"drop {drop} ({found['data_licences'][drop]})", data)
    graph.arrow(data, adapter)
    graph.arrow(f"{found['base_model']} @ {found['base_revision'][:12]}", adapter)
    graph.arrow(adapter, f"MLflow run {found['run_id'][:8]}")
    if found["name"]:
        graph.arrow(adapter, f"{found['name']} version {found['version']}")
        if found["alias"]:
            graph.arrow(f"{found['name']} version {found['version']}", found["alias"])


def _adapter(made: dict[str, Any]) -> str:
    name = f"{made['name']} version {made['version']}" if made["name"] else f"{made['recipe']}, never registered"
    aliases = f" ({', '.join(made['aliases'])})" if made["aliases"] else ""
    times = [f", champion from {reign['from'][:10]} to {(reign['until'] or 'now')[:10]}" for reign in made["champion"]]
    place = f"run {made['run_id']}" if made["run_id"] else f"folder adapters/{made['adapter_key']}"
    return f"adapter {name}{aliases} {place}{''.join(times)}"


def _short(made: dict[str, Any]) -> str:
    return f"{made['name']} version {made['version']}" if made["name"] else f"{made['recipe']} {made['adapter_key'][:8]}"


def _score(entry: dict[str, Any] | None) -> str:
    if not entry or entry.get("mean") is None:
        return "not measured"
    interval = "interval withheld" if entry.get("low") is None else f"[{entry['low']:.4g}, {entry['high']:.4g}]"
    return f"{entry['mean']:.4g} {interval} n={entry.get('n')}"


def _splits(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def _counted(items: list[str], most: int = 3) -> str:
    shown = ", ".join(items[:most])
    return f"{len(items)}: {shown}{', …' if len(items) > most else ''}" if items else "none"
