"""bitloom's graph text (`bitloom inspect --network N --text`) as a list of nodes.

Comes from: the program. Goes to: torch_network.py, so that a peer runs the very same network.
"""
import dataclasses
import re

NODE = re.compile(r"^(\S+) = (\w+)\((.*)\)$")


@dataclasses.dataclass
class Node:
    name: str
    op: str
    inputs: list
    attributes: dict  # text to text: {"stride": "2"}

    def number(self, key, fallback):
        return int(self.attributes.get(key, fallback))

    def real(self, key, fallback):
        return float(self.attributes.get(key, fallback))

    def shape(self):
        return [int(size) for size in self.attributes["shape"].split("x")]

    def pads(self):
        """Above (and below), left (and right)."""
        rows = self.number("pad", 0)
        return rows, self.number("pad_w", rows)


def parse(text):
    """Raises ValueError that names the line it cannot read."""
    lines = text.strip().splitlines()
    if not lines or not lines[0].startswith("bitloom-graph 1"):
        raise ValueError(f"expected 'bitloom-graph 1', found {lines[:1]}")
    nodes = []
    for number, line in enumerate(lines[1:], start=2):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = NODE.match(line)
        if match is None:
            raise ValueError(f"line {number}: expected 'name = op(...)', found {line!r}")
        name, op, arguments = match.groups()
        words = [word.strip() for word in arguments.split(",") if word.strip()]
        inputs = [word for word in words if "=" not in word]
        attributes = dict(word.split("=", 1) for word in words if "=" in word)
        nodes.append(Node(name, op, inputs, attributes))
    return nodes
